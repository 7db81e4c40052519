"""A request that was let in: its pieces, and the answer that is put together from theirs.

Shapes: N rows, R tasks, S slots, H embedding size.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ptune_scale.parallel.generation import Generated
from ptune_scale.parallel.remote.asked import num_bytes_of, values_of
from ptune_scale.parallel.remote.reply import encode_found, encode_losses, encode_written
from ptune_scale.parallel.remote.request import ModelRequest
from ptune_scale.parallel.rows import evened
from ptune_scale.serve.access import Caller
from ptune_scale.task.ask import cut_by_tokens
from ptune_scale.task.example import Batch

_ROW_BYTES, _TOKEN_BYTES, _TARGET_BYTES = 512, 48, 48
"""Of a row, of each of its tokens and of its targets, as objects: many times what was sent."""

Found = tuple[Tensor, Tensor] | Tensor | list[Generated]
"""Of some rows: losses (R,) and dP (R, S, H); what a question finds; what was written."""


@dataclass(frozen=True)
class Piece:
    """Rows of a request that are computed at once.

    Attributes:
        rows: their places in the request.
        request: the request of these rows alone.
    """

    ticket: "Ticket"
    rows: Sequence[int]
    request: ModelRequest

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest row, those to be written among them."""
        return self.request.longest

    @property
    def cost(self) -> int:
        """Tokens, padding counted, or targets or slots of all tasks where these are more."""
        num_tasks, num_slots, _ = self.request.prompts.shape
        return max(len(self.rows) * max(self.longest, self.num_targets), num_tasks * num_slots)

    @cached_property
    def num_targets(self) -> int:
        """Of the row with the most, of which logits are there at a time."""
        return 1 if self.request.kind == "generate" else self.request.batch.num_targets

    @cached_property
    def num_values(self) -> int:
        """Numbers that are found in a row."""
        asked = self.request
        if asked.kind != "ask" or asked.asked is None:
            return 0
        return torch.Size(values_of(asked.asked, asked.batch.num_targets)[0]).numel()

    @property
    def key(self) -> tuple[Any, ...]:
        """Pieces of the same key can share a pass."""
        asked = self.request
        # P is as wide as that of the request with the most slots: they may differ by half.
        slots = asked.prompts.shape[1].bit_length()
        return asked.kind, asked.batch.group_size, slots, asked.max_tokens, asked.stop


class Ticket:
    """A request on its way.

    Args:
        caller: whose it is.
        pass_tokens, pass_targets: most of a piece.

    Attributes:
        answer: the reply's body, once it is there, or the error that was made of the request.
    """

    def __init__(
        self, request: ModelRequest, caller: Caller, pass_tokens: int, pass_targets: int
    ) -> None:
        self.caller = caller
        parts = _cut(request, pass_tokens, pass_targets)
        if len(parts) > 1:  # all find as much in a row
            request = replace(request, batch=evened(request.batch))
        self.request = request
        self.answer: Future[bytes] = Future()
        self.pieces = [Piece(self, rows, request.rows(rows)) for rows in parts]
        self._left = len(self.pieces)
        self._losses = torch.zeros(len(request.prompts))
        self._gradient = torch.zeros_like(request.prompts)
        self._found: Tensor | None = None
        self._written: dict[int, Generated] = {}

    @property
    def who(self) -> str:
        """Whose it is, as far as fairness goes."""
        return self.caller.who

    @cached_property
    def num_bytes(self) -> int:
        """What it holds until it is answered, roughly: rows, P, what is asked, what is found."""
        request, asked, found = self.request, 0, 0
        if request.asked is not None:
            asked = num_bytes_of(request.asked)
        if request.kind == "ask" and request.asked is not None:
            shape, dtype = values_of(request.asked, request.batch.num_targets)
            found = len(request.batch) * torch.Size(shape).numel() * dtype.itemsize
        return _num_bytes_of_rows(request.batch) + 2 * request.prompts.nbytes + asked + found

    @property
    def is_wanted(self) -> bool:
        """Nobody has given it up, and nothing is wrong with it."""
        return not self.answer.done()

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self.answer.cancel()

    def add(self, piece: Piece, found: Found | Exception) -> None:
        """Take what was found of a piece; the last one makes the answer."""
        if not self.is_wanted:
            return
        if isinstance(found, Exception):
            self.fail(found)
            return
        if isinstance(found, tuple):
            self._losses += found[0]
            self._gradient += found[1]
        elif isinstance(found, list):
            self._written |= zip(piece.rows, found, strict=True)
        else:
            if self._found is None:
                self._found = found.new_zeros(len(self.request.batch), *found.shape[1:])
            self._found[list(piece.rows)] = found
        self._left -= 1
        if not self._left:
            self._finish()

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)

    def _finish(self) -> None:
        body = self._body()
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_result(body)

    def _body(self) -> bytes:
        if self.request.kind == "loss":
            return encode_losses(self._losses, self._gradient)
        if self.request.kind == "generate":
            return encode_written([self._written[n] for n in range(len(self.request.batch))])
        assert self._found is not None
        return encode_found(self._found)


def _num_bytes_of_rows(batch: Batch) -> int:
    targets = sum(len(row.targets) for row in batch.examples)
    return len(batch) * _ROW_BYTES + batch.num_tokens * _TOKEN_BYTES + targets * _TARGET_BYTES


def _cut(request: ModelRequest, pass_tokens: int, pass_targets: int) -> list[Sequence[int]]:
    """The rows of each piece: as many groups of similar length as fit, at least one."""
    batch, size = request.batch, request.batch.group_size
    groups = [range(start, start + size) for start in range(0, len(batch), size)]
    lengths = [row.num_tokens + request.max_tokens for row in batch.examples]
    costs = [size * max(lengths[row] for row in rows) for rows in groups]
    order = sorted(range(len(groups)), key=costs.__getitem__)
    targets = 1 if request.kind == "generate" else batch.num_targets
    cuts = cut_by_tokens(
        [costs[number] for number in order],
        pass_tokens,
        rows=max(1, pass_targets // (targets * size)),
        padded=True,
    )
    if len(cuts) == 1:
        return [range(len(batch))]
    return [[row for number in order[cut] for row in groups[number]] for cut in cuts]
