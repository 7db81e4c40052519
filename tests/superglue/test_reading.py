"""Reading records: the real files, and what is said of those that cannot be used."""

import copy
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ptune_scale.errors import UserError
from ptune_scale.superglue import TASKS, find_task, read_split, records_of
from ptune_scale.superglue.fields import BadRecord
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.task.tokenization import Tokenization
from tests.campaigns.damage import UNREADABLE

GOOD: dict[str, dict[str, Any]] = {
    "BoolQ": {"idx": 1, "passage": "The cat sat.", "question": "is it tired", "label": True},
    "CB": {"idx": 1, "premise": "It ran.", "hypothesis": "it is home", "label": "neutral"},
    "RTE": {"idx": 1, "premise": "It ran.", "hypothesis": "It is home.", "label": "entailment"},
    "COPA": {
        "idx": 1,
        "premise": "It ran.",
        "choice1": "It was tired.",
        "choice2": "It sat.",
        "question": "effect",
        "label": 0,
    },
    "WiC": {
        "idx": 1,
        "word": "cat",
        "sentence1": "The cat sat.",
        "sentence2": "A cat ran.",
        "start1": 4,
        "end1": 7,
        "start2": 2,
        "end2": 5,
        "label": False,
    },
    "WSC": {
        "idx": 1,
        "text": "Tom ran and he sat.",
        "target": {"span1_text": "Tom", "span1_index": 0, "span2_text": "he", "span2_index": 3},
        "label": True,
    },
    "MultiRC": {
        "idx": 1,
        "passage": {
            "text": "The cat sat.",
            "questions": [
                {"idx": 2, "question": "who sat?", "answers": [{"idx": 3, "text": "", "label": 0}]}
            ],
        },
    },
}


def _write(directory: Path, task: str, *records: Any, split: str = "train") -> Path:
    path = directory / task / f"{split}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def _read(directory: Path, task: str, split: str = "train", **more: Any) -> list[Record]:
    return read_split(directory, TASKS[task], split, **more)


def _changed(task: str, path: str, value: Any) -> dict[str, Any]:
    """The good record with one value replaced, or removed if it is None."""
    record = copy.deepcopy(GOOD[task])
    *way, last = path.split(".")
    place: Any = record
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return record


@pytest.mark.parametrize("task", GOOD)
def test_a_good_record_is_read(task: str, tmp_path: Path) -> None:
    file = _write(tmp_path, task, GOOD[task])
    (record,) = _read(tmp_path, task)
    assert record.id.split(".")[0] == "1" and record.source == f"{file}:1"
    assert record.answer in TASKS[task].labels
    for wording in TASKS[task].wordings().values():
        wording.pattern.check_fields(record.fields, task)
        wording.answer.check(record)


@pytest.mark.parametrize(
    ("task", "path", "value", "reason"),
    [
        ("BoolQ", "passage", None, "'passage' is missing or not a string"),
        ("BoolQ", "question", " ", "'question' is empty"),
        ("BoolQ", "label", 1, "unknown label 1 in 'label'; known: False, True"),
        ("BoolQ", "label", None, "'label' is missing"),
        ("BoolQ", "idx", True, "'idx' is missing or not an integer"),
        ("CB", "label", "maybe", "unknown label 'maybe' .* 'contradiction', 'neutral'"),
        ("RTE", "hypothesis", 3, "'hypothesis' is missing or not a string"),
        ("COPA", "question", "reason", "must be 'cause' or 'effect'"),
        ("COPA", "choice2", "...", "nothing but punctuation"),
        ("COPA", "label", 2, "unknown label 2"),
        ("WiC", "end1", 70, "no word stands at 4 to 70 of 'sentence1'"),
        ("WiC", "start2", 1, "no word stands at 1 to 5 of 'sentence2'"),
        ("WSC", "target.span2_text", "she", "'she' is not word 3 of 'text'"),
        ("WSC", "target.span2_index", 9, "'he' is not word 9"),
        ("WSC", "target.span1_text", "Ann", "'Ann' does not occur in 'text'"),
        ("WSC", "target", "he", "'target' is missing or not an object"),
        (
            "MultiRC",
            "passage.questions.0.answers.0.label",
            "x",
            r"unknown label 'x' in 'passage.questions\[0\].answers\[0\].label'",
        ),
        ("MultiRC", "passage.questions", [3], r"'passage.questions\[0\]' is not an object"),
        ("MultiRC", "passage.questions", {}, "'passage.questions' is missing or not a list"),
    ],
)
def test_a_bad_record_is_refused_with_file_line_and_reason(
    task: str, path: str, value: Any, reason: str, tmp_path: Path
) -> None:
    file = _write(tmp_path, task, GOOD[task], _changed(task, path, value))
    with pytest.raises(UserError, match=f"{file}:2: bad record: .*{reason}"):
        _read(tmp_path, task)
    dropped: Counter[str] = Counter()
    records = _read(tmp_path, task, on_bad_record="skip", dropped=dropped)
    assert (len(records), dropped) == (1, {"bad record": 1})


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no split of it is there"):
        _read(tmp_path, "CB", "val")
    _write(tmp_path, "CB", GOOD["CB"])
    _write(tmp_path, "CB", split="dev32")
    with pytest.raises(UserError, match=r"CB/val.jsonl does not exist; .*CB has dev32, train"):
        _read(tmp_path, "CB", "val")
    with pytest.raises(UserError, match="dev32.jsonl holds no records"):
        _read(tmp_path, "CB", "dev32")


@pytest.mark.parametrize("split", ["test", "unlabeled"])
def test_labels_may_be_absent_where_nothing_is_scored(split: str, tmp_path: Path) -> None:
    _write(tmp_path, "RTE", _changed("RTE", "label", None), split=split)
    assert _read(tmp_path, "RTE", split)[0].answer is None


@pytest.mark.parametrize(("text", "position"), [("Ann and he sat", 1), ("Tom. he, sat", 1)])
def test_a_pronoun_one_off_or_with_punctuation_is_found(
    text: str, position: int, tmp_path: Path
) -> None:
    target = {"span1_text": text[:3], "span1_index": 0, "span2_text": "he", "span2_index": position}
    _write(tmp_path, "WSC", {"idx": 1, "text": text, "target": target, "label": True})
    (record,) = _read(tmp_path, "WSC")
    assert "*he*" in record.fields["marked_text"].split()


def test_copa_is_mirrored_and_wsc_keeps_what_is_true_to_train(tmp_path: Path) -> None:
    _write(tmp_path, "COPA", GOOD["COPA"])
    original, mirrored = (r for r in TASKS["COPA"].learn(_read(tmp_path, "COPA")))
    assert mirrored.fields["choice1"] == original.fields["choice2"]
    assert mirrored.fields["choice2"] == original.fields["choice1"]
    assert (original.answer, mirrored.answer) == ("0", "1")
    _write(tmp_path, "WSC", GOOD["WSC"], _changed("WSC", "label", False))
    assert len(tuple(TASKS["WSC"].learn(_read(tmp_path, "WSC")))) == 1


def test_answers_to_questions_of_two_passages_are_two_groups() -> None:
    other = {**GOOD["MultiRC"], "idx": 2}
    groups = [r.fields["group"] for v in (GOOD["MultiRC"], other) for r in _of("MultiRC", v)]
    assert groups == ["1.2", "2.2"]


def _of(task: str, values: dict[str, Any]) -> list[Record]:
    return records_of(find_task(task.lower()), values)


def test_an_object_from_anywhere_becomes_records_without_a_file() -> None:
    (record,) = _of("WSC", _changed("WSC", "label", None))
    assert record.answer is None and record.fields["marked_text"] == "Tom ran and *he* sat."
    with pytest.raises(BadRecord, match="'target' is missing"):
        _of("WSC", _changed("WSC", "target", None))


def test_a_task_that_is_not_tuned_or_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="ReCoRD is not tuned, as in the paper"):
        find_task("record")
    with pytest.raises(UserError, match="unknown task 'SST-2'; known: BoolQ"):
        find_task("SST-2")


# Records by place of their label in FewGLUE_32dev (github.com/THUDM/P-tuning).
FEWGLUE = {
    ("BoolQ", "train"): {0: 14, 1: 18},
    ("BoolQ", "dev32"): {0: 13, 1: 19},
    ("CB", "train"): {0: 19, 1: 10, 2: 3},
    ("CB", "dev32"): {0: 17, 1: 13, 2: 2},
    ("CB", "val"): {0: 23, 1: 28, 2: 5},
    ("COPA", "train"): {0: 14, 1: 18},
    ("COPA", "dev32"): {0: 15, 1: 17},
    ("COPA", "val"): {0: 55, 1: 45},
    ("MultiRC", "train"): {0: 86, 1: 68},
    ("MultiRC", "dev32"): {0: 93, 1: 74},
    ("RTE", "train"): {0: 13, 1: 19},
    ("RTE", "dev32"): {0: 21, 1: 11},
    ("RTE", "val"): {0: 146, 1: 131},
    ("WiC", "train"): {0: 15, 1: 17},
    ("WiC", "dev32"): {0: 16, 1: 16},
    ("WSC", "train"): {1: 32},
    ("WSC", "dev32"): {0: 22, 1: 10},
    ("WSC", "val"): {0: 66, 1: 38},
}


@pytest.fixture(scope="module")
def fewglue() -> Path:
    """The directory of FewGLUE_32dev: named by FEWGLUE_DIR, or beside this checkout."""
    beside = sorted(Path(__file__).parents[3].glob("*/data/fewglue"))
    named = os.environ.get("FEWGLUE_DIR")
    directory = Path(named) if named else beside[0] if beside else None
    if directory is None or not directory.is_dir():
        pytest.skip("no FewGLUE_32dev: set FEWGLUE_DIR to its directory")
    return directory


@pytest.mark.parametrize(("task", "split"), FEWGLUE)
def test_fewglue_is_read_whole_and_fits(
    task: str, split: str, fewglue: Path, word_piece: Tokenization
) -> None:
    records, own = _read(fewglue, task, split), TASKS[task]
    counts = Counter(list(own.labels).index(record.answer) for record in records)
    assert dict(counts) == FEWGLUE[task, split]
    reference = Wording(Pattern.reference(own.reference[own.few_shot.num_slots]), own.answer)
    for wording in (own.wording(), reference):
        made = Task(task, wording, Splits((), (), tuple(records)), own.metrics, own.select_on)
        asked = AskedTask(replace(made, max_length=own.few_shot.max_length), word_piece, 0)
        assert len(asked.test) == len(records)
        assert max(question.num_tokens for question in asked.test) <= own.few_shot.max_length


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_a_split_that_nobody_can_read_is_not_simply_absent(damage, tmp_path: Path) -> None:
    path = tmp_path / "CB" / "val.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(GOOD["CB"]))
    damage(path, Random(0))
    with pytest.raises(UserError, match="CB/val.jsonl is") as refused:
        read_split(tmp_path, find_task("CB"), "val")
    assert "does not exist" not in str(refused.value)
