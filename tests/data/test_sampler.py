"""The order of facts and the turns of relations."""

from collections import Counter

import pytest

from ptune_scale.data.batch import Example
from ptune_scale.data.sampler import RelationOrder, choose_relations, cut_by_tokens


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


def _tokens(chunk: list[Example]) -> int:
    return sum(len(example.ids) for example in chunk)


def _epoch(order: RelationOrder, epoch: int) -> list[list[Example]]:
    first = epoch * order.visits_per_epoch
    return [order.chunk(visit) for visit in range(first, first + order.visits_per_epoch)]


@pytest.mark.parametrize("tokens", [0, 2, 5, 23, 64, 10_000])
@pytest.mark.parametrize("count", [1, 7, 101])
def test_with_a_token_budget_every_epoch_holds_each_example_once(count: int, tokens: int) -> None:
    order = RelationOrder("P36", _examples(count), 4, seed=34, tokens_per_visit=tokens)
    sizes = []
    for epoch in range(4):
        chunks = _epoch(order, epoch)
        assert sorted(e.label for chunk in chunks for e in chunk) == list(range(count))
        assert all(_tokens(chunk) <= tokens or len(chunk) == 1 for chunk in chunks)
        sizes.append(sorted(map(_tokens, chunks)))
    assert sizes == sizes[:1] * 4
    assert order.mean_facts == count / len(sizes[0])


def test_a_token_budget_is_filled() -> None:
    order = RelationOrder("P36", _examples(101), 4, seed=34, tokens_per_visit=60)
    # A chunk ends where not even another of the longest examples (7 tokens) would surely fit.
    short = [chunk for chunk in _epoch(order, 0) if _tokens(chunk) <= 60 - 7]
    assert len(short) <= 1


def test_orders_with_a_token_budget_depend_on_seed_relation_and_epoch_alone() -> None:
    def order(name: str, seed: int, epoch: int, relation: int = 0) -> list[list[int]]:
        examples = _examples(40, relation)
        full = RelationOrder(name, examples, 4, seed, tokens_per_visit=30)
        return [[example.label for example in chunk] for chunk in _epoch(full, epoch)]

    expected = order("P36", 34, 1)
    assert order("P36", 34, 1) == order("P36", 34, 1, relation=5) == expected
    others = [order("P36", 34, 0), order("P36", 35, 1), order("P19", 34, 1)]
    assert all(other != expected for other in others)


def test_with_a_token_budget_examples_of_equal_length_meet_in_changing_company() -> None:
    order = RelationOrder("P36", _examples(40), 4, seed=34, tokens_per_visit=12)
    company = [{frozenset(e.label for e in chunk) for chunk in _epoch(order, n)} for n in (0, 1)]
    assert company[0] != company[1]


def test_a_list_is_cut_by_what_it_holds_or_by_what_it_takes_when_padded() -> None:
    lengths = [2, 2, 3, 3, 9, 12]

    def parts(*limits: int | None, **more: int) -> list[list[int]]:
        return [lengths[cut] for cut in cut_by_tokens(lengths, *limits, **more)]

    assert parts(10) == [[2, 2, 3, 3], [9], [12]]
    assert parts(10, padded=True) == [[2, 2, 3], [3], [9], [12]]
    assert parts(10, rows=2) == [[2, 2], [3, 3], [9], [12]]
    assert parts(None, rows=4) == [[2, 2, 3, 3], [9, 12]]
    assert parts(None) == [lengths]
    assert cut_by_tokens([], 10) == []


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
