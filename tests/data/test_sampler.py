"""The order of facts and the turns of relations."""

from collections import Counter

import pytest

from ptune_scale.data.batch import Example
from ptune_scale.data.sampler import RelationOrder, choose_relations


def _examples(count: int, relation: int = 0) -> list[Example]:
    """Examples of different lengths that are told apart by their label."""
    return [
        Example(relation, (1,) * (3 + label * 7 % 5), (-1,) * (3 + label * 7 % 5), (2,), label)
        for label in range(count)
    ]


def _labels(order: RelationOrder, visits: range) -> list[list[int]]:
    return [[example.label for example in order.chunk(visit)] for visit in visits]


@pytest.mark.parametrize(("count", "size"), [(1, 4), (7, 3), (64, 8), (101, 4), (5, 100)])
def test_every_epoch_holds_each_example_once(count: int, size: int) -> None:
    order = RelationOrder("P36", _examples(count), size, seed=34)
    assert order.visits_per_epoch == -(-count // size)
    for epoch in range(3):
        first = epoch * order.visits_per_epoch
        chunks = _labels(order, range(first, first + order.visits_per_epoch))
        assert sorted(label for chunk in chunks for label in chunk) == list(range(count))
        assert max(map(len, chunks)) <= size


def test_epochs_seeds_and_relations_have_orders_of_their_own() -> None:
    def order(name: str, seed: int, epoch: int) -> list[list[int]]:
        full = RelationOrder(name, _examples(40), 4, seed)
        return _labels(full, range(10 * epoch, 10 * epoch + 10))

    assert order("P36", 34, 0) == order("P36", 34, 0)
    others = [order("P36", 34, 1), order("P36", 35, 0), order("P19", 34, 0)]
    assert all(other != order("P36", 34, 0) for other in others)


def test_an_order_is_independent_of_other_relations_and_of_its_place_in_the_job() -> None:
    alone = RelationOrder("P36", _examples(30), 4, seed=34)
    expected = _labels(alone, range(20))
    beside = RelationOrder("P36", _examples(30, relation=5), 4, seed=34)
    other = RelationOrder("P19", _examples(11), 3, seed=34)
    seen = []
    for visit in range(20):
        other.chunk(visit)
        seen += _labels(beside, range(visit, visit + 1))
    assert seen == expected


def test_a_visit_can_be_asked_for_in_any_order() -> None:
    visits = range(24)
    expected = _labels(RelationOrder("P36", _examples(30), 4, seed=34), visits)
    order = RelationOrder("P36", _examples(30), 4, seed=34)
    for visit in (20, 3, 11, 3, 0):
        assert _labels(order, range(visit, visit + 1)) == [expected[visit]]


@pytest.mark.parametrize(("relations", "count"), [(7, 3), (5, 5), (10, 1), (3, 8)])
def test_relations_take_turns_fairly(relations: int, count: int) -> None:
    visits = [0] * relations
    for _ in range(40):
        chosen = choose_relations(visits, range(relations), count, seed=34)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(count, relations)
        for relation in chosen:
            visits[relation] += 1
        assert max(visits) - min(visits) <= 1


def test_only_eligible_relations_are_chosen() -> None:
    assert choose_relations([0, 9, 0, 9], [1, 3], 4, seed=34) == [1, 3]


def test_relations_meet_in_changing_company() -> None:
    visits = [0] * 6
    company: Counter[tuple[int, ...]] = Counter()
    for _ in range(60):
        chosen = choose_relations(visits, range(6), 2, seed=34)
        company[tuple(chosen)] += 1
        for relation in chosen:
            visits[relation] += 1
    assert len(company) > 6
