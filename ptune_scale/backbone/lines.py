"""Packs rows of a causal model into lines, so that nothing is computed twice and nothing padded.

A line holds rows of one or more families behind one another: all rows of a task, or those that ask
about one record. What all rows of a family begin with (the task's leading prompt slots, say, or the
record) stands once in front of those that share the line; a mask lets each token see that and its
own row. Positions count within the row, as if it stood alone.

    family 0: P P P | Os lo P P P | Stock holm P P P     family 1: P P P | ...
                shared   row 0         row 1

Shapes: N rows, B lines, L tokens in a line, K targets in a row, F targets in a line, R tasks, S
slots.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptune_scale.backbone.arrange import (
    Line,
    arrange,
    families,
    first_fit,
    in_order,
    lead_length,
    shared_lengths,
)
from ptune_scale.backbone.lay_out import PADDING, SHARED, LaidOut, by_line, lay_out, rounded_up
from ptune_scale.task.example import Batch

# A second pass through all layers is not worth it for less of the tokens.
_WORTH_A_PASS = 0.2


@dataclass(frozen=True)
class Lines:
    """A batch as lines.

    Attributes:
        ids: (B, L) int64.
        cells: (B, L) int64, ``task * S + slot`` of prompt slots, else NO_SLOT.
        positions: (B, L) int64, place in the row.
        families: (B, L) int64, -1 at padding.
        rows: (B, L) int64, number of the row, or SHARED.
        targets: (N, K) int64, places in the flattened (B, L - lead) tokens behind ``lead``.
        columns: (B, F) int64, the targets of each line by column behind ``lead``, filled up with 0.
        places: (N, K) int64, where in the flattened ``columns`` each target is.
        lead: so many columns on the left hold nothing that depends on a prompt.
        rounded: B, L, E and F are rounded up, by padding, so that few shapes occur.
        known: (B,) int64, tokens of a line's rows that lie before it, as keys and values; None
            where nothing does.
        most_known: E, room for them: at least the most of any line.
    """

    ids: Tensor
    cells: Tensor
    positions: Tensor
    families: Tensor
    rows: Tensor
    targets: Tensor
    columns: Tensor
    places: Tensor
    lead: int
    rounded: bool = False
    known: Tensor | None = None
    most_known: int = 0

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What each token adds to attention scores, (B, 1, L, E + L): 0, or the least number."""
        same_family = self.families.unsqueeze(2) == self.families.unsqueeze(1)
        key_rows = self.rows.unsqueeze(1)
        visible = (key_rows == self.rows.unsqueeze(2)) | (key_rows == SHARED)
        visible &= same_family & (self.positions.unsqueeze(1) <= self.positions.unsqueeze(2))
        if self.known is not None:
            places = torch.arange(self.most_known, device=visible.device)
            before = (places < self.known.unsqueeze(1)).unsqueeze(1)
            visible = torch.cat([before.expand(-1, visible.shape[1], -1), visible], dim=2)
        hidden = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return hidden.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)


_LEAST_LINES, _LEAST_TOKENS, _LEAST_TARGETS = 4, 64, 8
"""Of lines, of a line, and in one, where sizes are rounded up: a GPU does not notice so few."""


def pack(batch: Batch, num_slots: int, *, skip_lead: bool) -> Lines:
    """Pack a batch; which row goes where depends on nothing but the batch.

    Args:
        num_slots: S.
        skip_lead: let tokens before the first slot stand in front, if they are many.
    """
    rows = batch.examples
    family = families(rows)
    shared = shared_lengths(rows, family)
    leads = [lead_length(row) if skip_lead else 0 for row in rows]
    if sum(leads) < _WORTH_A_PASS * batch.num_tokens:
        leads = [0] * len(rows)
    laid_out = [
        lay_out(line, rows, shared, leads, num_slots) for line in arrange(rows, family, shared)
    ]
    lead = max(len(front) for front, _ in laid_out)
    return _lines(batch, [front.tokens(lead) for front, _ in laid_out], [r for _, r in laid_out])


def pack_rounded(batch: Batch, num_slots: int, takes: Callable[[int], bool]) -> Lines | None:
    """Pack a batch into lines of few sizes, no token in front; None if that gets too large.

    Args:
        num_slots: S.
        takes: whether so many tokens, padding with them, are not too many.
    """
    rows = batch.examples
    longest = max(len(row.ids) for row in rows)
    if not takes(longest):  # before rows are arranged for nothing
        return None
    family = families(rows)
    shared = shared_lengths(rows, family)
    length = rounded_up(longest, _LEAST_TOKENS)
    arranged = first_fit(rows, in_order(rows, family), family, shared, length)
    most = max(line.length for line in arranged)
    if not takes(rounded_up(len(arranged), _LEAST_LINES) * rounded_up(most, _LEAST_TOKENS)):
        return None
    rests = [lay_out(line, rows, shared, [0] * len(rows), num_slots)[1] for line in arranged]
    return _lines(batch, [[]] * len(rests), rests, rounded=True)


def pack_behind(
    batch: Batch,
    known: Sequence[int],
    num_slots: int,
    *,
    length: int = 0,
    rounded: bool = False,
) -> tuple[Lines, list[int]]:
    """Pack what follows on known beginnings; rows of a task that are known alike share a line.

    Args:
        known: of each row, how many of its first tokens are there as keys and values.
        num_slots: S.
        length: not 0 for a line a row, in their order, of so many tokens.
        rounded: round sizes up.

    Returns:
        lines, and of each that is not empty the number of one of its rows.
    """
    rows = batch.examples
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, (row, count) in enumerate(zip(rows, known, strict=True)):
        # Slots behind the same text hold other prompts in another task.
        key = (number,) if length else (row.task, *row.ids[:count])
        alike.setdefault(key, []).append(number)
    size = _rows_per_line([len(numbers) for numbers in alike.values()])
    parts = [n[i : i + size] for n in alike.values() for i in range(0, len(n), size)]
    family = [0] * len(rows)
    for line, numbers in enumerate(parts):
        for number in numbers:
            family[number] = line
    shared = shared_lengths(rows, family)
    rest = [
        lay_out(Line({line: numbers}), rows, shared, known, num_slots)[1]
        for line, numbers in enumerate(parts)
    ]
    firsts = [numbers[0] for numbers in parts]
    lines = _lines(batch, [[]] * len(rest), rest, length, rounded)
    counts = [known[first] for first in firsts]
    empty = [0] * (len(lines.ids) - len(firsts))
    most = max(counts)
    room = rounded_up(most, _LEAST_TOKENS) if most and rounded else most
    lines = replace(
        lines,
        known=torch.tensor([*counts, *empty], device=batch.device),
        most_known=room,
    )
    return lines, firsts


def _rows_per_line(counts: Sequence[int]) -> int:
    """How many rows of those that are known alike share a line, so that lines are filled.

    Args:
        counts: of rows that are known alike.
    """

    def computed(size: int) -> tuple[int, int]:
        return sum(-(-count // size) for count in counts) * size, -size

    return min(set(counts), key=computed)


def _lines(
    batch: Batch,
    fronts: Sequence[Sequence[tuple[int, ...]]],
    rests: Sequence[LaidOut],
    length: int = 0,
    rounded: bool = False,
) -> Lines:
    """Lines as tensors, from what stands in front of each and what follows.

    Args:
        fronts: equally long.
        length: of what follows, at least.
    """
    lead, length = len(fronts[0]), max(length, *map(len, rests))
    num_lines = len(rests)
    if rounded:
        length, num_lines = rounded_up(length, _LEAST_TOKENS), rounded_up(num_lines, _LEAST_LINES)
    tokens = [(*front, *rest.tokens(length)) for front, rest in zip(fronts, rests, strict=True)]
    tokens += [tuple([PADDING] * (lead + length))] * (num_lines - len(rests))
    start = {
        number: line * length + offset
        for line, rest in enumerate(rests)
        for number, offset in rest.starts.items()
    }
    targets = [
        [start[n] + row.targets[min(k, len(row.targets) - 1)] for k in range(batch.num_targets)]
        for n, row in enumerate(batch.examples)
    ]
    columns, in_columns = by_line(targets, length, num_lines, _LEAST_TARGETS if rounded else 0)
    # All five go to the device in one copy.
    table = torch.tensor(tokens).permute(2, 0, 1).contiguous().to(batch.device)
    ids, cells, positions, of_family, of_row = table

    def there(numbers: list[list[int]]) -> Tensor:
        return torch.tensor(numbers, device=batch.device)

    return Lines(
        *(ids, cells, positions, of_family, of_row),
        *(there(targets), there(columns), there(in_columns), lead),
        rounded=rounded,
    )
