"""Packs rows of a causal model into lines, so that nothing is computed twice and nothing padded.

A line holds rows of one or more relations behind one another. What all rows of a relation begin
with (its leading prompt slots, say) stands once in front of those that share the line; a mask lets
each token see that and its own row. Positions count within the row, as if it stood alone.

    relation 0: P P P | Os lo P P P | Stock holm P P P     relation 1: P P P | ...
                shared   row 0         row 1

Shapes: N rows, B lines, L tokens in a line, K targets in a row, R relations, S slots.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ptune_scale.data.batch import Batch
from ptune_scale.template import NO_SLOT

SHARED = -1
"""Stands for the row number of tokens that all rows of a relation share; padding has it too."""

# Lengths of lines to try, by how many lines would be as long; beyond, attention takes too much.
_LENGTHS = (32, 48, 64, 96, 128)
# Tokens more than if rows could be cut to fit.
_MORE = (1, 4, 8)
_MANY = 128
# Lines that are looked at for room.
_OPEN = 32
# Each so many tokens of a line, attention costs as much as all else.
_COSTLY_LENGTH = 1024
# A second pass through all layers is not worth it for less of the tokens.
_WORTH_A_PASS = 0.2


@dataclass(frozen=True)
class Lines:
    """A batch as lines.

    Attributes:
        ids: (B, L) int64.
        cells: (B, L) int64, ``relation * S + slot`` of prompt slots, else NO_SLOT.
        positions: (B, L) int64, place in the row.
        relations: (B, L) int64, -1 at padding.
        rows: (B, L) int64, number of the row, or SHARED.
        targets: (N, K) int64, places in the flattened (B, L - lead) tokens behind ``lead``.
        lead: so many columns on the left hold nothing that depends on a prompt.
    """

    ids: Tensor
    cells: Tensor
    positions: Tensor
    relations: Tensor
    rows: Tensor
    targets: Tensor
    lead: int

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What each token adds to its attention scores, (B, 1, L, L): 0, or the least number."""
        same_relation = self.relations.unsqueeze(2) == self.relations.unsqueeze(1)
        key_rows = self.rows.unsqueeze(1)
        visible = (key_rows == self.rows.unsqueeze(2)) | (key_rows == SHARED)
        visible &= same_relation & (self.positions.unsqueeze(1) <= self.positions.unsqueeze(2))
        hidden = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return hidden.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)


def pack(batch: Batch, num_slots: int, *, skip_lead: bool) -> Lines:
    """Pack a batch; which row goes where depends on nothing but the batch.

    Args:
        num_slots: S.
        skip_lead: let tokens before the first slot stand in front, if they are many.
    """
    rows = _read(batch)
    shared = _shared_lengths(rows)
    lines = _arrange(rows, shared)
    is_lead = skip_lead and _lead_share(rows) >= _WORTH_A_PASS
    laid_out = [_lay_out(line, rows, shared, num_slots, is_lead) for line in lines]
    return _tensors(laid_out, batch)


@dataclass(frozen=True)
class _Row:
    relation: int
    ids: list[int]
    slots: list[int]
    targets: list[int]

    @property
    def lead(self) -> int:
        """Tokens before the first slot, or the first target."""
        places = (place for place, slot in enumerate(self.slots) if slot != NO_SLOT)
        return min(next(places, len(self.slots)), *self.targets)


def _read(batch: Batch) -> list[_Row]:
    columns = (batch.relations, batch.ids, batch.slots, batch.targets, batch.lengths)
    return [
        _Row(relation, ids[:length], slots[:length], targets)
        for relation, ids, slots, targets, length in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def _shared_lengths(rows: list[_Row]) -> dict[int, int]:
    """Of each relation, how many tokens all its rows begin with; targets are never among them."""
    first: dict[int, _Row] = {}
    shared: dict[int, int] = {}
    for row in rows:
        if row.relation not in first:
            first[row.relation] = row
            shared[row.relation] = min(row.targets)
            continue
        other = first[row.relation]
        length = min(shared[row.relation], *row.targets)
        common = 0
        while common < length and (
            row.ids[common] == other.ids[common] and row.slots[common] == other.slots[common]
        ):
            common += 1
        shared[row.relation] = common
    return shared


@dataclass
class _Line:
    """Rows by relation, and how many tokens they take."""

    rows: dict[int, list[int]] = field(default_factory=dict)
    length: int = 0


def _arrange(rows: list[_Row], shared: dict[int, int]) -> list[_Line]:
    """Deal rows out over lines so that little is computed.

    That is tokens, padding and repeated beginnings among them, and attention, whose share grows
    with the length of the lines. Of a few arrangements the cheapest is taken.
    """
    longest = max(len(row.ids) for row in rows)
    order = sorted(range(len(rows)), key=lambda i: (rows[i].relation, -len(rows[i].ids), i))
    fewest_tokens = sum(len(row.ids) - shared[row.relation] for row in rows) + sum(shared.values())

    def cost(lines: list[_Line]) -> float:
        length = max(line.length for line in lines)
        return len(lines) * length * (1 + length / _COSTLY_LENGTH)

    # With many rows all arrangements are nearly as good, and trying them takes long.
    tried, more_tokens = (_LENGTHS, _MORE) if len(rows) <= _MANY else (_LENGTHS[2:3], _MORE[1:2])
    counts = {max(1, round(fewest_tokens / length)) for length in tried}
    found = [_balanced(rows, order, shared, n) for n in sorted(counts) if n <= _OPEN]
    lengths = {
        max(longest, math.ceil(fewest_tokens / count) + more)
        for count in counts
        for more in more_tokens
    }
    found += [_first_fit(rows, order, shared, length) for length in sorted(lengths)]
    return min(found, key=cost)


def _balanced(
    rows: list[_Row], order: list[int], shared: dict[int, int], count: int
) -> list[_Line]:
    """So many lines of nearly equal length: good where few relations share them."""
    lines = [_Line() for _ in range(count)]
    for number in order:
        relation = rows[number].relation
        own = len(rows[number].ids) - shared[relation]
        sizes = [
            line.length + own + (0 if relation in line.rows else shared[relation]) for line in lines
        ]
        size = min(sizes)
        line = lines[sizes.index(size)]
        line.length = size
        line.rows.setdefault(relation, []).append(number)
    return [line for line in lines if line.rows]


def _first_fit(
    rows: list[_Row], order: list[int], shared: dict[int, int], longest: int
) -> list[_Line]:
    """Lines of at most this length: few repeated beginnings where there are many relations."""
    lines: list[_Line] = []
    for number in order:
        relation = rows[number].relation
        own = len(rows[number].ids) - shared[relation]
        whole = own + shared[relation]
        last = lines[-_OPEN:]
        room = (x for x in last if relation in x.rows and x.length + own <= longest)
        line = next(room, None) or next((x for x in last if x.length + whole <= longest), None)
        if line is None:
            line = _Line()
            lines.append(line)
        line.length += own if relation in line.rows else whole
        line.rows.setdefault(relation, []).append(number)
    return lines


def _lead_share(rows: list[_Row]) -> float:
    return sum(row.lead for row in rows) / sum(len(row.ids) for row in rows)


@dataclass
class _Column:
    """One token of a line."""

    id: int
    cell: int
    position: int
    relation: int
    row: int


def _lay_out(
    line: _Line, rows: list[_Row], shared: dict[int, int], num_slots: int, is_lead: bool
) -> tuple[list[_Column], list[_Column]]:
    """Columns that stand in front of all others, and those behind."""
    parts: tuple[list[_Column], list[_Column]] = ([], [])
    for relation, numbers in line.rows.items():
        own = [(number, range(shared[relation], len(rows[number].ids))) for number in numbers]
        for number, places in [(numbers[0], range(shared[relation])), *own]:
            row = rows[number]
            lead = row.lead if is_lead else 0
            for place in places:
                slot = row.slots[place]
                column = _Column(
                    row.ids[place],
                    NO_SLOT if slot == NO_SLOT else relation * num_slots + slot,
                    place,
                    relation,
                    SHARED if place < shared[relation] else number,
                )
                parts[place >= lead].append(column)
    return parts


def _tensors(lines: list[tuple[list[_Column], list[_Column]]], batch: Batch) -> Lines:
    padding = _Column(0, NO_SLOT, 0, -1, SHARED)
    lead = max(len(front) for front, _ in lines)
    length = max(len(rest) for _, rest in lines)
    table = [
        [*front, *[padding] * (lead - len(front)), *rest, *[padding] * (length - len(rest))]
        for front, rest in lines
    ]
    place = {
        (column.row, column.position): number * length + index
        for number, (_, rest) in enumerate(lines)
        for index, column in enumerate(rest)
        if column.row != SHARED
    }
    targets = [[place[row, t] for t in ts] for row, ts in enumerate(batch.targets.tolist())]
    device = batch.ids.device

    def tensor(name: str) -> Tensor:
        return torch.tensor([[getattr(c, name) for c in line] for line in table], device=device)

    return Lines(
        tensor("id"),
        tensor("cell"),
        tensor("position"),
        tensor("relation"),
        tensor("row"),
        torch.tensor(targets, device=device),
        lead,
    )
