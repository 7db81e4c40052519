"""Packs rows of a causal model into lines, so that nothing is computed twice and nothing padded.

A line holds rows of one or more relations behind one another. What all rows of a relation begin
with (its leading prompt slots, say) stands once in front of those that share the line; a mask lets
each token see that and its own row. Positions count within the row, as if it stood alone.

    relation 0: P P P | Os lo P P P | Stock holm P P P     relation 1: P P P | ...
                shared   row 0         row 1

Shapes: N rows, B lines, L tokens in a line, K targets in a row, R relations, S slots.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ptune_scale.backbone.arrange import Line, Row, arrange, shared_lengths
from ptune_scale.data.batch import Batch
from ptune_scale.template import NO_SLOT

SHARED = -1
"""Stands for the row number of tokens that all rows of a relation share; padding has it too."""

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
    shared = shared_lengths(rows)
    lines = arrange(rows, shared)
    is_lead = skip_lead and _lead_share(rows) >= _WORTH_A_PASS
    laid_out = [_lay_out(line, rows, shared, num_slots, is_lead) for line in lines]
    return _tensors(laid_out, batch)


def _read(batch: Batch) -> list[Row]:
    columns = (batch.relations, batch.ids, batch.slots, batch.targets, batch.lengths)
    return [
        Row(relation, ids[:length], slots[:length], targets)
        for relation, ids, slots, targets, length in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def _lead_share(rows: list[Row]) -> float:
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
    line: Line, rows: list[Row], shared: dict[int, int], num_slots: int, is_lead: bool
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
