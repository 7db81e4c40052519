"""Tokens that a way of P-tuning has to compute: what it does itself, without its padding.

Tokens in front of the first prompt slot depend on nothing that trains, so they need no backward
pass in any way. Of pairs of a query and a key only those that a causal model sees are needed;
implementations mostly compute all of them.
"""

from collections.abc import Iterable, Sequence

from ptune_scale.backbone.arrange import Row, shared_lengths
from ptune_scale.bench.feed import text_length
from ptune_scale.bench.flops import Work
from ptune_scale.data.batch import Example


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
        total += _row(length, first=_row_of(example).lead, positions=length, layers=layers)
    return total


def of_least(step: Sequence[Example], layers: int) -> Work:
    """The least that a step needs.

    What all rows of a relation begin with is computed once; logits are computed at the targets;
    so is the last layer, whose keys and values, needed at all tokens, are left out.
    """
    total = Work()
    rows = [_row_of(example) for example in step]
    shared = shared_lengths(rows)
    for row in {row.relation: row for row in rows}.values():
        total += _part(0, shared[row.relation], row.lead, layers - 1)
    for row in rows:
        total += _part(shared[row.relation], len(row.ids), row.lead, layers - 1)
        total += _targets(row)
    return total


def _row_of(example: Example) -> Row:
    return Row(example.relation, example.ids, example.slots, example.targets)


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


def _targets(row: Row) -> Work:
    """The last layer and the head at a row's targets."""
    count = len(row.targets)
    pairs = sum(target + 1 for target in row.targets)
    return Work(count, count, pairs, pairs, count, count)


def _pairs(start: int, stop: int) -> int:
    """Pairs of a query from ``start`` to ``stop`` and a key at or before it."""
    return (stop * (stop + 1) - start * (start + 1)) // 2 if stop > start else 0
