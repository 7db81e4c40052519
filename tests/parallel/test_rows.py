"""How rows of a batch are dealt out to replicas and cut into parts."""

import pytest

from ptune_scale.parallel.rows import count_parts, cut, deal
from ptune_scale.task.example import NO_ANSWER, Batch, Example, collate


def batch_of(lengths: list[int], group_size: int = 1) -> Batch:
    """Rows of these lengths; each has its number as its answer."""
    rows = [
        Example(n % 2, (1,) * length, (-1,) * length, (length - 1,), (n,))
        for n, length in enumerate(lengths)
    ]
    return collate(rows, group_size=group_size)


@pytest.mark.parametrize("group_size", [1, 2])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 6, 14])
def test_every_row_is_computed_once_and_replicas_compute_as_many(
    count: int, replicas: int, group_size: int
) -> None:
    batch = batch_of([3 + (5 * n) % 7 for n in range(count)], group_size)
    dealt = [deal(batch, replica, replicas) for replica in range(replicas)]
    assert sorted(row for index, _ in dealt for row in index) == list(range(count))
    assert len({len(part) for _, part in dealt}) == 1
    assert sum(sum(part.weights) for _, part in dealt) == pytest.approx(sum(batch.weights))
    for index, part in dealt:
        assert part.examples[: len(index)] == tuple(batch.examples[row] for row in index)
        assert part.weights[: len(index)] == tuple(batch.weights[row] for row in index)
        assert not any(part.weights[len(index) :])
        for start in range(0, len(index), group_size):
            group = index[start : start + group_size]
            assert group == list(range(group[0], group[0] + group_size))
            assert group[0] % group_size == 0


def test_replicas_get_rows_of_nearly_the_same_length() -> None:
    batch = batch_of([9, 2, 7, 3, 8, 5])
    lengths = [
        [row.num_tokens for row in deal(batch, replica, 2)[1].examples] for replica in (0, 1)
    ]
    assert lengths == [[2, 5, 8], [3, 7, 9]]


def test_rows_have_as_many_targets_wherever_they_are_computed() -> None:
    rows = [
        Example(0, (1, 2, 3), (-1,) * 3, (1, 2), (5, 6)),
        Example(0, (1, 2), (-1,) * 2, (1,), (7,)),
    ]
    for replica in (0, 1):
        _, part = deal(collate(rows), replica, 2)
        assert part.num_targets == 2
    [short] = deal(collate(rows), 0, 2)[1].examples
    assert (short.targets, short.answers) == ((1, 1), (7, NO_ANSWER))


@pytest.mark.parametrize(
    ("rows_per_part", "expected"), [(None, [10]), (4, [4, 4, 2]), (1, [2] * 5)]
)
def test_parts_are_no_larger_than_asked_and_tear_no_group(
    rows_per_part: int | None, expected: list[int]
) -> None:
    batch = batch_of([3] * 10, group_size=2)
    parts = cut(batch, count_parts(batch, 1, rows_per_part))
    assert [len(part) for part in parts] == expected
    assert [row for part in parts for row in part.examples] == list(batch.examples)
