"""Tokens that a way of P-tuning has to compute: what it does itself, without its padding.

Tokens in front of the first prompt slot depend on nothing that trains, so they need no backward
pass in any way. Of pairs of a query and a key only those that a causal model sees are needed;
implementations mostly compute all of them.
"""

from collections.abc import Iterable, Sequence

from ptune_scale.bench.feed import text_length
from ptune_scale.bench.flops import Work
from ptune_scale.data.batch import Example
from ptune_scale.template import NO_SLOT


def of_prefix(examples: Iterable[Example], slots: int, layers: int) -> Work:
    """Slots in front, then the text, then the object; logits at all of these."""
    total = Work()
    for example in examples:
        length = slots + text_length(example) + 1
        total += _row(length, first=0, positions=length, layers=layers)
    return total


def of_rows(examples: Iterable[Example], layers: int) -> Work:
    """Each row by itself, logits at all positions."""
    total = Work()
    for example in examples:
        length = len(example.ids)
        total += _row(length, first=_first_slot(example), positions=length, layers=layers)
    return total


def of_least(step: Sequence[Example], layers: int) -> Work:
    """The least that a step needs.

    What all rows of a relation begin with is computed once; logits are computed at the targets;
    so is the last layer, whose keys and values, needed at all tokens, are left out.
    """
    total = Work()
    by_relation: dict[int, list[Example]] = {}
    for example in step:
        by_relation.setdefault(example.relation, []).append(example)
    for rows in by_relation.values():
        shared = _shared(rows)
        first = _first_slot(rows[0])
        total += _part(0, shared, first, layers - 1)
        for row in rows:
            total += _part(shared, len(row.ids), _first_slot(row), layers - 1)
            total += _targets(row)
    return total


def _row(length: int, *, first: int, positions: int, layers: int) -> Work:
    heads = Work(forward_positions=positions, backward_positions=positions)
    return _part(0, length, first, layers) + heads


def _part(start: int, stop: int, first: int, layers: int) -> Work:
    """Tokens ``start`` to ``stop`` of a row whose first slot is ``first``."""
    trained = max(start, first)
    return Work(
        forward_tokens=layers * (stop - start),
        backward_tokens=layers * max(0, stop - trained),
        forward_pairs=layers * _pairs(start, stop),
        backward_pairs=layers * _pairs(trained, stop),
    )


def _targets(row: Example) -> Work:
    """The last layer and the head at a row's targets."""
    count = len(row.targets)
    pairs = sum(target + 1 for target in row.targets)
    return Work(count, count, pairs, pairs, count, count)


def _pairs(start: int, stop: int) -> int:
    """Pairs of a query from ``start`` to ``stop`` and a key at or before it."""
    return (stop * (stop + 1) - start * (start + 1)) // 2 if stop > start else 0


def _first_slot(example: Example) -> int:
    return next((i for i, slot in enumerate(example.slots) if slot != NO_SLOT), len(example.slots))


def _shared(rows: Sequence[Example]) -> int:
    """Tokens that all rows begin with, none of them a target; nothing is shared by one row."""
    if len(rows) == 1:
        return 0
    most = min(min(row.targets) for row in rows)
    columns = zip(*(zip(row.ids, row.slots, strict=True) for row in rows), strict=False)
    for place, column in enumerate(columns):
        if place == most or len(set(column)) > 1:
            return place
    return most
