"""The order of records and the turns of tasks."""

from collections import Counter

import pytest

from ptune_scale.task.example import Example
from ptune_scale.train.order import TaskOrder, choose_tasks


def _examples(count: int, task: int = 0) -> list[Example]:
    """Examples of different lengths that are told apart by their label."""
    lengths = [3 + label * 7 % 5 for label in range(count)]
    return [
        Example(task, (1,) * length, (-1,) * length, (2,), (7,), label)
        for label, length in enumerate(lengths)
    ]


def _labels(order: TaskOrder, visits: range) -> list[list[int]]:
    return [[example.label for example in order.chunk(visit)] for visit in visits]


@pytest.mark.parametrize(("count", "size"), [(1, 4), (7, 3), (64, 8), (101, 4), (5, 100)])
def test_every_epoch_holds_each_example_once(count: int, size: int) -> None:
    order = TaskOrder("P36", _examples(count), size, seed=34)
    assert order.visits_per_epoch == -(-count // size)
    for epoch in range(3):
        first = epoch * order.visits_per_epoch
        chunks = _labels(order, range(first, first + order.visits_per_epoch))
        assert sorted(label for chunk in chunks for label in chunk) == list(range(count))
        assert max(map(len, chunks)) <= size


def test_epochs_seeds_and_tasks_have_orders_of_their_own() -> None:
    def order(name: str, seed: int, epoch: int) -> list[list[int]]:
        full = TaskOrder(name, _examples(40), 4, seed)
        return _labels(full, range(10 * epoch, 10 * epoch + 10))

    assert order("P36", 34, 0) == order("P36", 34, 0)
    others = [order("P36", 34, 1), order("P36", 35, 0), order("P19", 34, 0)]
    assert all(other != order("P36", 34, 0) for other in others)


def test_an_order_is_independent_of_other_tasks_and_of_its_place_in_the_job() -> None:
    alone = TaskOrder("P36", _examples(30), 4, seed=34)
    expected = _labels(alone, range(20))
    beside = TaskOrder("P36", _examples(30, task=5), 4, seed=34)
    other = TaskOrder("P19", _examples(11), 3, seed=34)
    seen = []
    for visit in range(20):
        other.chunk(visit)
        seen += _labels(beside, range(visit, visit + 1))
    assert seen == expected


def test_a_visit_can_be_asked_for_in_any_order() -> None:
    visits = range(24)
    expected = _labels(TaskOrder("P36", _examples(30), 4, seed=34), visits)
    order = TaskOrder("P36", _examples(30), 4, seed=34)
    for visit in (20, 3, 11, 3, 0):
        assert _labels(order, range(visit, visit + 1)) == [expected[visit]]


def _tokens(chunk: list[Example]) -> int:
    return sum(len(example.ids) for example in chunk)


def _epoch(order: TaskOrder, epoch: int) -> list[list[Example]]:
    first = epoch * order.visits_per_epoch
    return [order.chunk(visit) for visit in range(first, first + order.visits_per_epoch)]


@pytest.mark.parametrize("tokens", [0, 2, 5, 23, 64, 10_000])
@pytest.mark.parametrize("count", [1, 7, 101])
def test_with_a_token_budget_every_epoch_holds_each_example_once(count: int, tokens: int) -> None:
    order = TaskOrder("P36", _examples(count), 4, seed=34, tokens_per_visit=tokens)
    sizes = []
    for epoch in range(4):
        chunks = _epoch(order, epoch)
        assert sorted(e.label for chunk in chunks for e in chunk) == list(range(count))
        assert all(_tokens(chunk) <= tokens or len(chunk) == 1 for chunk in chunks)
        sizes.append(sorted(map(_tokens, chunks)))
    assert sizes == sizes[:1] * 4
    assert order.mean_records == count / len(sizes[0])


def test_a_token_budget_is_filled() -> None:
    order = TaskOrder("P36", _examples(101), 4, seed=34, tokens_per_visit=60)
    # A chunk ends where not even another of the longest examples (7 tokens) would surely fit.
    short = [chunk for chunk in _epoch(order, 0) if _tokens(chunk) <= 60 - 7]
    assert len(short) <= 1


def test_orders_with_a_token_budget_depend_on_seed_task_and_epoch_alone() -> None:
    def order(name: str, seed: int, epoch: int, task: int = 0) -> list[list[int]]:
        examples = _examples(40, task)
        full = TaskOrder(name, examples, 4, seed, tokens_per_visit=30)
        return [[example.label for example in chunk] for chunk in _epoch(full, epoch)]

    expected = order("P36", 34, 1)
    assert order("P36", 34, 1) == order("P36", 34, 1, task=5) == expected
    others = [order("P36", 34, 0), order("P36", 35, 1), order("P19", 34, 1)]
    assert all(other != expected for other in others)


def test_with_a_token_budget_examples_of_equal_length_meet_in_changing_company() -> None:
    order = TaskOrder("P36", _examples(40), 4, seed=34, tokens_per_visit=12)
    company = [{frozenset(e.label for e in chunk) for chunk in _epoch(order, n)} for n in (0, 1)]
    assert company[0] != company[1]


@pytest.mark.parametrize(("tasks", "count"), [(7, 3), (5, 5), (10, 1), (3, 8)])
def test_tasks_take_turns_fairly(tasks: int, count: int) -> None:
    visits = [0] * tasks
    for _ in range(40):
        chosen = choose_tasks(visits, range(tasks), count, seed=34)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(count, tasks)
        for task in chosen:
            visits[task] += 1
        assert max(visits) - min(visits) <= 1


def test_only_eligible_tasks_are_chosen() -> None:
    assert choose_tasks([0, 9, 0, 9], [1, 3], 4, seed=34) == [1, 3]


def test_tasks_meet_in_changing_company() -> None:
    visits = [0] * 6
    company: Counter[tuple[int, ...]] = Counter()
    for _ in range(60):
        chosen = choose_tasks(visits, range(6), 2, seed=34)
        company[tuple(chosen)] += 1
        for task in chosen:
            visits[task] += 1
    assert len(company) > 6
