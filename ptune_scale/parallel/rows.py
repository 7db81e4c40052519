"""Which rows of a batch each replica computes, and in which parts.

Nothing here depends on more than the batch and the layout: all ranks cut it the same way.
"""

import math
from dataclasses import replace

from ptune_scale.task.example import NO_ANSWER, Batch, Example


def deal(batch: Batch, replica: int, replicas: int) -> tuple[list[int], Batch]:
    """The rows of one replica, and where in the batch they are.

    Groups of rows are sorted by length first, then dealt out in turn: all replicas get as many, of
    nearly the same length. Where groups are lacking, the shortest one stands in behind the others,
    with weight zero and no place in the batch.
    """
    batch = evened(batch)
    size = batch.group_size
    groups = [range(start, start + size) for start in range(0, len(batch), size)]
    groups.sort(key=lambda rows: max(batch.examples[row].num_tokens for row in rows))
    mine = [row for group in groups[replica::replicas] for row in group]
    is_lacking = len(mine) < size * math.ceil(len(groups) / replicas)
    part = batch.rows([*mine, *groups[0]] if is_lacking else mine)
    weights = [*part.weights[: len(mine)], *[0.0] * (len(part) - len(mine))]
    return mine, replace(part, weights=tuple(weights))


def evened(batch: Batch) -> Batch:
    """The batch with as many targets in each row: parts of it then have as many as the whole."""
    most = batch.num_targets
    return replace(batch, examples=tuple(_filled(row, most) for row in batch.examples))


def count_parts(batch: Batch, replicas: int, rows_per_part: int | None) -> int:
    """Into how many parts a replica's share of a batch is cut.

    The same on all ranks: with sharded weights every forward pass is a collective.

    Args:
        rows_per_part: most rows in a part; None for no limit.
    """
    if rows_per_part is None:
        return 1
    groups = math.ceil(len(batch) / batch.group_size / replicas)
    return math.ceil(groups / max(1, rows_per_part // batch.group_size))


def cut(batch: Batch, num_parts: int) -> list[Batch]:
    """At most so many batches of nearly equal size, in the order of the rows; no group is torn."""
    size = batch.group_size
    rows = size * math.ceil(len(batch) / (num_parts * size))
    starts = range(0, len(batch), rows)
    return [batch.rows(range(start, min(start + rows, len(batch)))) for start in starts]


def _filled(row: Example, num_targets: int) -> Example:
    """A row in whose missing targets its last one stands in, without an answer."""
    missing = num_targets - len(row.targets)
    if not missing:
        return row
    targets = (*row.targets, *row.targets[-1:] * missing)
    return replace(row, targets=targets, answers=(*row.answers, *[NO_ANSWER] * missing))
