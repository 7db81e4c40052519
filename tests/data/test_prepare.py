"""Facts as a model sees them: one-token answers, nothing of the test in training."""

from pathlib import Path

import pytest

from ptune_scale.backbone import load_backbone
from ptune_scale.data.facts import Fact, FactSet, Relation
from ptune_scale.data.prepare import PreparedRelation, fill, prepare
from ptune_scale.errors import UserError
from ptune_scale.template import Template
from ptune_scale.tokenization import Tokenization

CITIES = ("Oslo", "Stockholm", "Paris", "Berlin", "Rome", "Madrid")
MANY = tuple(Fact(f"person {i // 2}", CITIES[i % 6]) for i in range(200))
ONE = (Fact("Norway", "Oslo"),)


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_bert"])
def tokens(request: pytest.FixtureRequest) -> Tokenization:
    directory: Path = request.getfixturevalue(request.param)
    return load_backbone(str(directory)).tokens


def _set(train=(), dev=(), test=()) -> FactSet:  # noqa: ANN001
    relation = Relation("P36", "capital", "[X] [Y]", tuple(train), tuple(dev), tuple(test))
    return FactSet("here", (relation,))


def _subjects(facts) -> set[str]:  # noqa: ANN001
    return {fact.subject for fact in facts}


def _parts(relation: PreparedRelation) -> list[set[str]]:
    return [_subjects(part) for part in (relation.train, relation.dev, relation.test)]


def test_objects_of_several_tokens_are_dropped_and_counted(tokens: Tokenization) -> None:
    train = [*MANY[:4], Fact("Peru", "Qjzvk"), Fact("Chad", "Oslo Rome")]
    prepared = prepare(_set(train, test=[*ONE, Fact("Mali", "Xwqz")]), tokens)
    assert prepared.dropped == {"object of several tokens": 3}
    (relation,) = prepared.relations
    assert len(relation.train) + len(relation.dev) == 4
    assert [f.subject for f in relation.test] == ["Norway"]
    assert tokens.text(relation.test[0].label) == "Oslo"


def test_training_and_dev_facts_that_are_in_the_test_are_dropped(tokens: Tokenization) -> None:
    prepared = prepare(_set([*MANY[:4], *ONE], dev=[*ONE, *MANY[4:6]], test=ONE), tokens)
    assert prepared.dropped["training fact that is in the test"] == 1
    assert prepared.dropped["dev fact that is in the test"] == 1
    (relation,) = prepared.relations
    assert "Norway" not in _subjects(relation.train) | _subjects(relation.dev)


def test_duplicates_count_once_in_training(tokens: Tokenization) -> None:
    prepared = prepare(_set([*MANY[:4], *MANY[:2]], dev=MANY[6:8], test=ONE), tokens)
    assert prepared.dropped == {"duplicate training fact": 2}
    assert len(prepared.relations[0].train) == 4


def test_held_out_dev_facts_share_no_subject_with_training(tokens: Tokenization) -> None:
    (relation,) = prepare(_set(MANY, test=ONE), tokens).relations
    train, dev, _ = _parts(relation)
    assert dev and not train & dev
    assert len(relation.train) + len(relation.dev) == len(MANY)
    assert not relation.test_held_out


def test_held_out_test_facts_share_no_subject_with_the_rest(tokens: Tokenization) -> None:
    (relation,) = prepare(_set(MANY), tokens).relations
    train, dev, test = _parts(relation)
    assert relation.test_held_out
    assert test and not test & (train | dev)
    assert not train & dev


def test_limits_on_dev_and_test_facts_hold(tokens: Tokenization) -> None:
    facts = _set(MANY[:100], dev=MANY[100:140], test=MANY[140:])
    (relation,) = prepare(facts, tokens, dev_facts=5, test_facts=7).relations
    assert (len(relation.dev), len(relation.test)) == (5, 7)
    assert prepare(facts, tokens, dev_facts=5, test_facts=7).relations == (relation,)


def test_test_facts_whose_object_is_no_candidate_are_dropped(tokens: Tokenization) -> None:
    oslo = tokens.word_tokens(["Oslo"])
    prepared = prepare(_set(MANY[:6], test=[*ONE, Fact("Italy", "Rome")]), tokens, answers=oslo)
    assert prepared.dropped["test fact whose object is no candidate"] == 1
    assert _subjects(prepared.relations[0].test) == {"Norway"}


def test_a_relation_without_usable_facts_is_refused_by_name(tokens: Tokenization) -> None:
    with pytest.raises(UserError, match="relation P36"):
        prepare(_set(MANY[:4], test=[Fact("Mali", "Xwqz")]), tokens)


def test_filling_gives_one_example_a_fact(tokens: Tokenization) -> None:
    (relation,) = prepare(_set(MANY[:20], test=ONE), tokens).relations
    examples = fill(3, relation.test, Template.parse("[P]*2 [X] [P] [Y]"), tokens)
    assert [(e.relation, e.label) for e in examples] == [(3, relation.test[0].label)]
    assert max(examples[0].slots) == 2
