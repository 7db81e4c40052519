"""Which rows share a line, so that little is computed: bin packing by rules of thumb."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ptune_scale.task.example import NO_QUESTION, NO_SLOT, Example

Key = TypeVar("Key", bound=Hashable)

# Lengths of lines to try, by how many lines would be as long; beyond, attention takes too much.
_LENGTHS = (32, 48, 64, 96, 128)
# The same behind a beginning that is longer than these lines, in multiples of it.
_BEHIND = (0.5, 1, 2)
# Tokens more than if rows could be cut to fit.
_MORE = (1, 4, 8)
_MANY = 128
# Lines that are looked at for room.
_OPEN = 32
# Each so many tokens of a line, attention costs as much as all else.
_COSTLY_LENGTH = 1024


def lead_length(row: Example) -> int:
    """Tokens of a row before its first slot, or its first target."""
    places = (place for place, slot in enumerate(row.slots) if slot != NO_SLOT)
    return min(next(places, len(row.slots)), *row.targets)


def families(rows: Sequence[Example]) -> list[int]:
    """Of each row, the number of the family with which it shares its beginning.

    A family is all rows of a task or, where less is computed so, those of one of its questions.
    """
    tasks = [(row.task, NO_QUESTION) for row in rows]
    questions = [(row.task, row.question) for row in rows]
    saved = [_saved_tokens(keys, shared_lengths(rows, keys)) for keys in (tasks, questions)]
    chosen = [
        question if saved[1][task[0]] > saved[0][task[0]] else task
        for task, question in zip(tasks, questions, strict=True)
    ]
    # In the order of the tasks: lines, and with them rounding, do not depend on a batch's order.
    numbers = {key: number for number, key in enumerate(sorted(set(chosen)))}
    return [numbers[key] for key in chosen]


def _saved_tokens(
    keys: Sequence[tuple[int, int]], shared: dict[tuple[int, int], int]
) -> dict[int, int]:
    """Of each task, how many tokens need not be computed if rows of a key share their beginning."""
    saved: dict[int, int] = {}
    for key, count in Counter(keys).items():
        saved[key[0]] = saved.get(key[0], 0) + (count - 1) * shared[key]
    return saved


def shared_lengths(rows: Sequence[Example], keys: Sequence[Key]) -> dict[Key, int]:
    """Of each key, how many tokens all its rows begin with; targets are never among them."""
    first: dict[Key, Example] = {}
    shared: dict[Key, int] = {}
    for row, key in zip(rows, keys, strict=True):
        if key not in first:
            first[key] = row
            shared[key] = min(row.targets)
            continue
        other = first[key]
        length = min(shared[key], *row.targets)
        common = 0
        while common < length and (
            row.ids[common] == other.ids[common] and row.slots[common] == other.slots[common]
        ):
            common += 1
        shared[key] = common
    return shared


@dataclass
class Line:
    """Rows by family, and how many tokens they take."""

    rows: dict[int, list[int]] = field(default_factory=dict)
    length: int = 0


def arrange(rows: Sequence[Example], family: Sequence[int], shared: dict[int, int]) -> list[Line]:
    """Deal rows out over lines so that little is computed.

    That is tokens, padding and repeated beginnings among them, and attention, whose share grows
    with the length of the lines. Of a few arrangements the cheapest is taken.

    Args:
        family: of each row, see ``families``.
        shared: tokens that a family begins with.
    """
    longest = max(len(row.ids) for row in rows)
    order = in_order(rows, family)
    fewest_tokens = sum(
        len(row.ids) - shared[key] for row, key in zip(rows, family, strict=True)
    ) + sum(shared.values())

    def cost(lines: list[Line]) -> float:
        length = max(line.length for line in lines)
        return len(lines) * length * (1 + length / _COSTLY_LENGTH)

    # With many rows all arrangements are nearly as good, and trying them takes long.
    tried, more_tokens = (_LENGTHS, _MORE) if len(rows) <= _MANY else (_LENGTHS[2:3], _MORE[1:2])
    counts = {max(1, round(fewest_tokens / length)) for length in tried}
    beginning = max(shared.values())
    if beginning > _LENGTHS[-1]:
        own_tokens = fewest_tokens - sum(shared.values())
        counts |= {max(1, round(own_tokens / (beginning * more))) for more in _BEHIND}
    found = [_balanced(rows, order, family, shared, n) for n in sorted(counts) if n <= _OPEN]
    lengths = {
        max(longest, math.ceil(fewest_tokens / count) + more)
        for count in counts
        for more in more_tokens
    }
    found += [first_fit(rows, order, family, shared, length) for length in sorted(lengths)]
    return min(found, key=cost)


def _balanced(
    rows: Sequence[Example],
    order: list[int],
    family: Sequence[int],
    shared: dict[int, int],
    count: int,
) -> list[Line]:
    """So many lines of nearly equal length: good where few families share them."""
    lines = [Line() for _ in range(count)]
    for number in order:
        key = family[number]
        own = len(rows[number].ids) - shared[key]
        sizes = [line.length + own + (0 if key in line.rows else shared[key]) for line in lines]
        size = min(sizes)
        line = lines[sizes.index(size)]
        line.length = size
        line.rows.setdefault(key, []).append(number)
    return [line for line in lines if line.rows]


def in_order(rows: Sequence[Example], family: Sequence[int]) -> list[int]:
    """Rows of a family behind one another, the longest first."""
    return sorted(range(len(rows)), key=lambda i: (family[i], -len(rows[i].ids), i))


def first_fit(
    rows: Sequence[Example],
    order: Sequence[int],
    family: Sequence[int],
    shared: dict[int, int],
    longest: int,
) -> list[Line]:
    """Lines of at most this length: few repeated beginnings where there are many families.

    Args:
        order: in which rows are dealt out, see ``in_order``.
    """
    lines: list[Line] = []
    for number in order:
        key = family[number]
        own = len(rows[number].ids) - shared[key]
        whole = own + shared[key]
        last = lines[-_OPEN:]
        room = (x for x in last if key in x.rows and x.length + own <= longest)
        line = next(room, None) or next((x for x in last if x.length + whole <= longest), None)
        if line is None:
            line = Line()
            lines.append(line)
        line.length += own if key in line.rows else whole
        line.rows.setdefault(key, []).append(number)
    return lines
