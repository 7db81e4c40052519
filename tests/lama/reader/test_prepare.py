"""Facts as a model sees them: answers that it can give, nothing of the test in training."""

from pathlib import Path

import pytest

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.lama.config import FactsConfig
from ptune_scale.lama.objects import Objects
from ptune_scale.lama.reader.facts import Fact, FactSet, Relation
from ptune_scale.lama.reader.prepare import HELD_OUT, make_tasks
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task
from ptune_scale.task.tokenization import Tokenization

CITIES = ("Oslo", "Stockholm", "Paris", "Berlin", "Rome", "Madrid")
MANY = tuple(Fact(f"person {i // 2}", CITIES[i % 6]) for i in range(200))
ONE = (Fact("Norway", "Oslo"),)
# Of several tokens, for both tokenizers.
PHRASES = tuple(Fact(f"person {i // 2}", f"Oslo {CITIES[i % 6]}") for i in range(60))


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_bert"])
def tokens(request: pytest.FixtureRequest) -> Tokenization:
    directory: Path = request.getfixturevalue(request.param)
    return load_backbone(str(directory)).tokens


def task_of(tokens: Tokenization, train=(), dev=(), test=(), **data: object) -> Task:  # noqa: ANN001
    relation = Relation("P36", "capital", "[X] [Y] .", tuple(train), tuple(dev), tuple(test))
    facts = FactSet("here", (relation,), common_vocab=data.pop("common_vocab", None))  # type: ignore
    [task] = make_tasks(facts, tokens, FactsConfig(**data), Pattern.parse("[P] [X] [Y]"))  # type: ignore
    return task


def _subjects(records: tuple[Record, ...]) -> set[str]:
    return {record.fields["subject"] for record in records}


def _parts(task: Task) -> list[set[str]]:
    return [_subjects(part) for part in (task.splits.train, task.splits.dev, task.splits.test)]


def _facts(records: tuple[Record, ...]) -> set[tuple[str, str | None]]:
    return {(record.fields["subject"], record.answer) for record in records}


def test_a_relation_is_a_task_that_knows_how_its_files_are_written(tokens: Tokenization) -> None:
    train = [*MANY[:4], Fact("Spain", "Madrid", "train/P36.jsonl:7")]
    task = task_of(tokens, train, MANY[4:6], ONE, common_vocab=CITIES)
    assert (task.name, task.label, task.metrics) == ("P36", "capital", ("p_at_1", "p_at_10", "mrr"))
    assert task.columns == {"subject": "sub_label", "answer": "obj_label"}
    assert task.manual["manual"].pattern.text == "[X] [Y] ."
    assert task.splits.train[-1].source == "train/P36.jsonl:7"
    answer = task.wording.answer
    assert isinstance(answer, Ranked) and answer.one_token
    own = tuple(sorted({"Madrid", *(fact.object for fact in MANY[:6])}))
    assert answer.sets == {"common_vocab": CITIES, "full_vocab": None, "relation": own}
    assert list(answer.sets) == ["common_vocab", "full_vocab", "relation"]


def test_the_reported_set_of_candidates_comes_first(tokens: Tokenization, tmp_path: Path) -> None:
    def names(candidates: str) -> list[str]:
        task = task_of(tokens, MANY, (), ONE, candidates=candidates)
        assert isinstance(task.wording.answer, Ranked)
        return list(task.wording.answer.sets)

    assert names("auto") == names("full_vocab") == ["full_vocab", "relation"]
    assert names("relation") == ["relation", "full_vocab"]
    (tmp_path / "words.txt").write_text("Oslo\nRome\n")
    assert names(str(tmp_path / "words.txt")) == ["file", "full_vocab", "relation"]
    with pytest.raises(UserError, match="--candidates common_vocab: here has no such list"):
        names("common_vocab")


def test_objects_of_several_tokens_are_dropped_and_counted(tokens: Tokenization) -> None:
    train = [*MANY[:4], Fact("Peru", "Qjzvk"), Fact("Chad", "Oslo Rome")]
    task = task_of(tokens, train, test=[*ONE, Fact("Mali", "Xwqz")])
    assert +task.splits.dropped == {"object of several tokens": 3}
    assert len(task.splits.train) + len(task.splits.dev) == 4
    assert _facts(task.splits.test) == {("Norway", "Oslo")}


def test_training_and_dev_facts_that_are_in_the_test_are_dropped(tokens: Tokenization) -> None:
    task = task_of(tokens, [*MANY[:4], *ONE], [*ONE, *MANY[4:6]], ONE)
    assert task.splits.dropped["training fact that is in the test"] == 1
    assert task.splits.dropped["dev fact that is in the test"] == 1
    assert "Norway" not in _subjects(task.splits.train) | _subjects(task.splits.dev)


def test_duplicates_count_once_in_training(tokens: Tokenization) -> None:
    task = task_of(tokens, [*MANY[:4], *MANY[:2]], MANY[6:8], ONE)
    assert +task.splits.dropped == {"duplicate training fact": 2}
    assert len(task.splits.train) == 4


def test_held_out_dev_facts_share_no_subject_with_training(tokens: Tokenization) -> None:
    task = task_of(tokens, MANY, test=ONE)
    train, dev, _ = _parts(task)
    assert dev and not train & dev
    assert len(task.splits.train) + len(task.splits.dev) == len(MANY)
    assert not task.splits.notes


def test_held_out_test_facts_share_no_subject_with_the_rest(tokens: Tokenization) -> None:
    task = task_of(tokens, MANY)
    train, dev, test = _parts(task)
    assert task.splits.notes == (HELD_OUT,)
    assert test and not test & (train | dev)
    assert not train & dev


def test_limits_on_dev_and_test_facts_hold(tokens: Tokenization) -> None:
    parts = MANY[:100], MANY[100:140], MANY[140:]
    task = task_of(tokens, *parts, dev_facts=5, test_facts=7)
    assert (len(task.splits.dev), len(task.splits.test)) == (5, 7)
    assert task_of(tokens, *parts, dev_facts=5, test_facts=7) == task


def test_test_facts_whose_object_is_no_candidate_are_dropped(tokens: Tokenization) -> None:
    test = [*ONE, Fact("Italy", "Rome")]
    task = task_of(tokens, MANY[:6], test=test, common_vocab=("Oslo",))
    assert task.splits.dropped["test fact whose object is no candidate"] == 1
    assert _subjects(task.splits.test) == {"Norway"}


def test_a_relation_without_usable_facts_is_refused_by_name(tokens: Tokenization) -> None:
    with pytest.raises(UserError, match="relation P36: .*a single token of this tokenizer"):
        task_of(tokens, MANY[:4], test=[Fact("Mali", "Xwqz")])


@pytest.mark.parametrize("test", [(), (*ONE, Fact("Chad", "Oslo Rome"))], ids=["held out", "test"])
def test_with_objects_of_any_length_one_token_facts_are_tested_as_without(
    tokens: Tokenization, test
):
    """Phrases come beside them, and no subject is on two sides."""
    facts = [*MANY, *PHRASES]
    single, every = (
        task_of(tokens, facts, test=test, objects=objects, dev_facts=6, test_facts=20)
        for objects in ("single", "all")
    )
    assert isinstance(every.wording.answer, Objects)
    ours, theirs = (_facts(task.splits.test) for task in (every, single))
    assert theirs < ours
    assert all(" " in (answer or "") for _, answer in ours - theirs)
    train, dev, tested = _parts(every)
    assert not train & dev and not train & tested and not dev & tested
    assert "object of several tokens" not in every.splits.dropped
    longest = max(len(tokens.after(f" {fact.object}")) for fact in PHRASES)
    assert every.wording.answer.max_tokens >= longest


def test_objects_that_are_their_own_subject_are_tested_but_not_learned(tokens: Tokenization):
    same = [Fact(f"Oslo {city}", f"Oslo {city}") for city in CITIES]
    train, test = [*PHRASES, *same, Fact("Rome", "Rome")], [*ONE, *same[1:2]]
    task = task_of(tokens, train, same[:1], test, objects="all")
    known = _facts(task.splits.train) | _facts(task.splits.dev)
    assert not any(subject == answer for subject, answer in known)
    assert ("Oslo Stockholm", "Oslo Stockholm") in _facts(task.splits.test)
    assert task.splits.dropped["training or dev fact whose object is its subject"] == 6
    alone = task_of(tokens, train, same[:1], test)
    assert ("Rome", "Rome") in _facts(alone.splits.train)
