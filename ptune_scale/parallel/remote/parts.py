"""A request that is larger than a server takes at once, in several.

Rows of a group stay together, and the order of the rows stays as it is: answers stand behind one
another, losses and gradients add up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ptune_scale.parallel.remote.asked import Asked, encode_asked, values_of
from ptune_scale.parallel.remote.request import ModelRequest
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.parallel.rows import evened
from ptune_scale.task.example import Example

_HEADER_BYTES = 1 << 14
_ROW_BYTES, _TOKEN_BYTES, _TARGET_BYTES, _VALUE_BYTES = 64, 8, 8, 4
"""Of what a body holds of a row, of each of its tokens and targets, and of a number of P."""


def in_parts(request: ModelRequest, limits: Limits) -> list[ModelRequest]:
    """The same as requests of which each is within the limits, as far as groups let it be.

    Args:
        limits: of the server, as it says itself.
    """
    batch, size = request.batch, request.batch.group_size
    counted = _Counted.of(request)
    starts, so_far = [0], _Sizes()
    for start in range(0, len(batch), size):
        group = batch.examples[start : start + size]
        more = counted.with_group(so_far, group)
        if start > starts[-1] and not counted.fits(more, limits):
            starts.append(start)
            more = counted.with_group(_Sizes(), group)
        so_far = more
    if len(starts) == 1:
        return [request]
    request = replace(request, batch=evened(batch))  # all find as much in a row
    return [request.rows(rows) for rows in _ranges(starts, len(batch))]


def _ranges(starts: list[int], end: int) -> Iterator[range]:
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        yield range(start, stop)


@dataclass(frozen=True)
class _Sizes:
    """What rows that go together come to."""

    rows: int = 0
    tokens: int = 0
    tasks: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Counted:
    """What each row of a request costs, and what is sent with any of them.

    Attributes:
        written: tokens behind a row.
        targets: of the row with the most.
        values: numbers that a question finds in a row.
        fixed_bytes: of a header, and of what is asked of all tasks alike.
        task_bytes: of what is asked of a task.
    """

    written: int
    targets: int
    values: int
    slots: int
    hidden: int
    fixed_bytes: int
    task_bytes: int

    @classmethod
    def of(cls, request: ModelRequest) -> "_Counted":
        asked, tasks = request.asked, request.tasks
        most, values, fixed_bytes, task_bytes = request.batch.num_targets, 0, _HEADER_BYTES, 0
        if asked is not None:
            of_one, of_two = (_num_bytes(asked, tasks[:1] * count) for count in (1, 2))
            task_bytes = of_two - of_one
            fixed_bytes += of_one - task_bytes
        if asked is not None and request.kind == "ask":
            values = torch.Size(values_of(asked, most)[0]).numel()
        _, slots, hidden = request.prompts.shape
        return cls(request.max_tokens, most, values, slots, hidden, fixed_bytes, task_bytes)

    def with_group(self, sizes: _Sizes, group: tuple[Example, ...]) -> _Sizes:
        return _Sizes(
            sizes.rows + len(group),
            sizes.tokens + sum(row.num_tokens + self.written for row in group),
            sizes.tasks | {row.task for row in group},
        )

    def fits(self, sizes: _Sizes, limits: Limits) -> bool:
        slots = len(sizes.tasks) * self.slots
        row_bytes = _ROW_BYTES + self.targets * _TARGET_BYTES
        num_bytes = self.fixed_bytes + len(sizes.tasks) * self.task_bytes
        num_bytes += sizes.rows * row_bytes + sizes.tokens * _TOKEN_BYTES
        return (
            max(sizes.tokens, slots) <= limits.request_tokens
            and sizes.rows * max(self.values, self.targets) <= limits.values
            and num_bytes + slots * self.hidden * _VALUE_BYTES <= limits.request_bytes
        )


def _num_bytes(asked: Asked, tasks: Sequence[int]) -> int:
    return sum(each.nbytes for each in encode_asked(asked, tasks)[1].values())
