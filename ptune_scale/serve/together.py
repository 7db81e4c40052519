"""Requests of several people in one pass.

Rows of a batch are computed each by itself, whoever's they are; each task of each request gets a
row of one prompt matrix. So what a request gets does not depend on its company, but for rounding.

Shapes: N rows, K targets in a row, W a rank's part of the vocabulary, R tasks, S slots, H embedding
size.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.parallel import PromptFunction
from ptune_scale.parallel.remote.asked import Asked, values_of
from ptune_scale.parallel.remote.request import ModelRequest
from ptune_scale.serve.ticket import Found
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import Vocabulary

_log = logging.getLogger(__name__)


def compute(
    function: PromptFunction, requests: Sequence[ModelRequest]
) -> Sequence[Found | Exception]:
    """What is found of each request; all ranks call it together, and all find the same.

    Args:
        requests: of one kind and group size; to generate, with the same length and stop tokens.

    Returns:
        of each, its answer, or what is wrong with it.
    """
    if len(requests) > 1:
        try:
            found = _together(function, requests)
        except _survived(function) as error:
            _log.info("a pass of %d requests: %s; each by itself now", len(requests), error)
            found = []
        # Where numbers of one overflow, its neighbours in a pass may be touched by it.
        if found and all(map(_is_finite, found)):
            return found
    return [_alone(function, request) for request in requests]


def _survived(function: PromptFunction) -> tuple[type[Exception], ...]:
    """Errors after which ranks go on: those that all have alike, and any of a single one."""
    return (UserError,) if function.world.size > 1 else (Exception,)


def _is_finite(found: Any) -> bool:
    return not isinstance(found, tuple) or all(bool(each.isfinite().all()) for each in found)


def _alone(function: PromptFunction, request: ModelRequest) -> Found | Exception:
    try:
        return _run(function, request, request.asked)
    except _survived(function) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return UserError("the rows do not fit into the server's memory: ask in smaller batches")
        if not isinstance(error, UserError):
            _log.error("a request failed, which should not be", exc_info=error)
        return error


def _run(function: PromptFunction, request: ModelRequest, asked: Any) -> Found:
    batch, prompts = request.batch, request.prompts
    if request.kind == "loss":
        return function.loss_and_gradient(batch, prompts, asked)
    if request.kind == "ask":
        shape, dtype = values_of(asked, batch.num_targets)
        return function.ask(batch, prompts, asked, shape, dtype)
    return function.generate(batch, prompts, max_tokens=request.max_tokens, stop=request.stop)


def _together(function: PromptFunction, requests: Sequence[ModelRequest]) -> list[Found]:
    tasks = list(pairwise(accumulate((len(r.prompts) for r in requests), initial=0)))
    rows = list(pairwise(accumulate((len(r.batch) for r in requests), initial=0)))
    batch, prompts = _batch(requests, tasks), _prompts(requests, tasks)
    members = [_Member(r, *range_) for r, range_ in zip(requests, tasks, strict=True)]
    first = requests[0]
    if first.kind == "generate":
        written = function.generate(batch, prompts, max_tokens=first.max_tokens, stop=first.stop)
        return [written[start:stop] for start, stop in rows]
    if first.kind == "loss":
        losses, gradient = function.loss_and_gradient(batch, prompts, _Company(members))
        return [
            (losses[start:stop], gradient[start:stop, : request.prompts.shape[1]])
            for request, (start, stop) in zip(requests, tasks, strict=True)
        ]
    width = max(member.width for member in members)
    asked = _Company(members, width)
    found = function.ask(batch, prompts, asked, (width,), torch.float64)
    return [
        found[start:stop, : member.width].reshape(-1, *member.values[0]).to(member.values[1])
        for member, (start, stop) in zip(members, rows, strict=True)
    ]


def _batch(requests: Sequence[ModelRequest], tasks: Sequence[tuple[int, int]]) -> Batch:
    """The rows of all requests, whose tasks are numbered one behind another."""
    return Batch(
        tuple(
            replace(row, task=row.task + start)
            for request, (start, _) in zip(requests, tasks, strict=True)
            for row in request.batch.examples
        ),
        tuple(weight for request in requests for weight in request.batch.weights),
        requests[0].batch.group_size,
    )


def _prompts(requests: Sequence[ModelRequest], tasks: Sequence[tuple[int, int]]) -> Tensor:
    """All tasks' prompts, (R, S, H); those with fewer slots than others end in zeros."""
    slots = max(request.prompts.shape[1] for request in requests)
    prompts = torch.zeros(tasks[-1][1], slots, requests[0].prompts.shape[2])
    for request, (start, stop) in zip(requests, tasks, strict=True):
        prompts[start:stop, : request.prompts.shape[1]] = request.prompts
    return prompts


@dataclass(frozen=True)
class _Member:
    """One of several requests, whose tasks are rows [start, stop) of P."""

    request: ModelRequest
    start: int
    stop: int

    @property
    def asked(self) -> Asked:
        assert self.request.asked is not None
        return self.request.asked

    @property
    def values(self) -> tuple[tuple[int, ...], torch.dtype]:
        """Shape and type of what is found in a row."""
        return values_of(self.asked, self.request.batch.num_targets)

    @property
    def width(self) -> int:
        """Numbers that are found in a row."""
        return torch.Size(self.values[0]).numel()

    def rows_of(self, batch: Batch) -> list[int]:
        return [n for n, row in enumerate(batch.examples) if self.start <= row.task < self.stop]

    def own(self, batch: Batch, rows: Sequence[int]) -> Batch:
        """Rows of a batch as they stand in the request by itself."""
        most, part = self.request.batch.num_targets, batch.rows(rows)
        return replace(
            part,
            examples=tuple(
                replace(
                    row,
                    task=row.task - self.start,
                    targets=row.targets[:most],
                    answers=row.answers[:most],
                )
                for row in part.examples
            ),
        )


@dataclass(frozen=True)
class _Company:
    """Asks of each row what its request does.

    Attributes:
        width: numbers of a row that asks the most; 0 where each has one loss.
    """

    members: Sequence[_Member]
    width: int = 0

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        found, places = [], []
        for member in self.members:
            rows = member.rows_of(batch)
            if not rows:
                continue
            part = logits[rows][:, : member.request.batch.num_targets]
            values = member.asked(vocabulary, part, member.own(batch, rows))
            if self.width:
                values = values.flatten(1).double()
                values = torch.nn.functional.pad(values, (0, self.width - values.shape[1]))
            found.append(values)
            places += rows
        order = torch.tensor(places, device=logits.device).argsort()
        return torch.cat(found)[order]
