"""Rows laid out in lines, token by token, as numbers: what becomes tensors is made of it.

Shapes: N rows, K targets in a row, B lines, L tokens in a line, F targets in a line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ptune_scale.backbone.arrange import Line
from ptune_scale.task.example import NO_SLOT, Example

SHARED = -1
"""Stands for the row number of tokens that all rows of a family share; padding has it too."""

PADDING = (0, NO_SLOT, 0, -1, SHARED)
"""(id, cell, position, family, row) of no token."""


def rounded_up(size: int, least: int) -> int:
    """The next power of two, so that few sizes occur."""
    return max(least, 1 << (size - 1).bit_length())


@dataclass
class LaidOut:
    """Tokens behind one another, by what is known of each.

    Attributes:
        starts: row -> where its first token is, or would be if its tokens all stood here.
    """

    ids: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    families: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def add(
        self, row: Example, family: int, number: int, start: int, stop: int, num_slots: int
    ) -> None:
        """Append the tokens [start, stop) of a row."""
        self.starts[number] = len(self) - start
        cell = row.task * num_slots
        self.ids += row.ids[start:stop]
        self.cells += [NO_SLOT if s == NO_SLOT else cell + s for s in row.slots[start:stop]]
        self.positions += range(start, stop)
        self.families += [family] * (stop - start)
        self.rows += [number] * (stop - start)

    def tokens(self, length: int) -> list[tuple[int, ...]]:
        """(id, cell, position, family, row) of each, filled up with padding."""
        padding = [PADDING] * (length - len(self))
        table = zip(self.ids, self.cells, self.positions, self.families, self.rows, strict=True)
        return [*table, *padding]


def lay_out(
    line: Line,
    rows: Sequence[Example],
    shared: dict[int, int],
    leads: Sequence[int],
    num_slots: int,
) -> tuple[LaidOut, LaidOut]:
    """Tokens that stand in front of all others, and those behind."""
    front, rest = LaidOut(), LaidOut()

    def add(row: Example, family: int, number: int, start: int, stop: int, lead: int) -> None:
        border = min(max(start, lead), stop)
        front.add(row, family, number, start, border, num_slots)
        rest.add(row, family, number, border, stop, num_slots)

    for family, numbers in line.rows.items():
        begun = shared[family]
        add(rows[numbers[0]], family, SHARED, 0, begun, leads[numbers[0]])
        for number in numbers:
            add(rows[number], family, number, begun, len(rows[number].ids), leads[number])
    return front, rest


def by_line(
    targets: Sequence[Sequence[int]], length: int, num_lines: int, least: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Targets (N, K) as columns of lines (B, F), and where each is in the flattened (B, F).

    Args:
        length: L.
        num_lines: B.
        least: of F, which is rounded up then; 0 for what is needed.
    """
    columns: list[list[int]] = [[] for _ in range(num_lines)]
    found = []
    for row in targets:
        for target in row:
            line, column = divmod(target, length)
            found.append((line, len(columns[line])))
            columns[line].append(column)
    most = max(map(len, columns))
    most = rounded_up(most, least) if least else most
    filled = [[*line, *[0] * (most - len(line))] for line in columns]
    flat = [line * most + rank for line, rank in found]
    per_row = len(targets[0])
    return filled, [flat[i : i + per_row] for i in range(0, len(flat), per_row)]
