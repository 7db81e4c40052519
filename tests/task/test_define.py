"""Tasks from files and from a few flags: all that can be said, and how what is wrong is refused."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words
from ptune_scale.task.define import Definition, define, read_definition
from ptune_scale.task.task import Task, check_names
from tests.campaigns import good
from tests.campaigns.damage import TOML_VALUES

LABELS = ["entailment", "contradiction", "neutral"]
CB = """
name = "cb"
pattern = "{premise...} Question: {hypothesis}? [P]*4 Answer: [Y]"
max_length = 192
metrics = ["accuracy", "macro_f1"]
[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
[answer]
field = "label"
words = { entailment = "Yes", contradiction = "No", neutral = "Maybe" }
"""


def _rows(count: int, first: int = 0) -> list[dict[str, str]]:
    return [
        {"premise": f"It rains {i}", "hypothesis": f"it is wet {i}", "label": LABELS[i % 3]}
        for i in range(first, first + count)
    ]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., list[Task]]:
    """The tasks of a TOML text, beside the files of CB."""
    write(tmp_path / "train.jsonl", _rows(30))
    write(tmp_path / "dev.jsonl", _rows(6, 30))
    write(tmp_path / "test.jsonl", _rows(9, 36))

    def make(text: str = CB) -> list[Task]:
        path = tmp_path / "own.toml"
        path.write_text(text)
        return list(define(read_definition(path)).tasks)

    return make


def test_a_task_file_says_everything(own) -> None:
    text = CB.replace('name = "cb"', 'name = "cb"\nlabel = "Bank"\nselect_on = ["macro_f1"]')
    [task] = own(text.replace("[data]", 'manual = ["{premise}? [Y]", "{hypothesis} [Y]"]\n[data]'))
    assert (task.name, task.label, task.max_length) == ("cb", "Bank", 192)
    assert (task.metrics, task.select_on) == (("accuracy", "macro_f1"), ("macro_f1",))
    assert task.wording.pattern.names == ["premise", "hypothesis"]
    words = {"entailment": ("Yes",), "contradiction": ("No",), "neutral": ("Maybe",)}
    assert task.wording.answer == Words(words)
    splits = task.splits
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [30, 6, 9]
    assert splits.test[0].fields["premise"] == "It rains 36" and splits.test[0].answer == LABELS[0]
    assert list(task.manual) == ["{premise}? [Y]", "{hypothesis} [Y]"]
    assert all(wording.answer == task.wording.answer for wording in task.manual.values())
    assert not splits.notes and not splits.dropped


def test_what_is_not_said_has_a_default(own, tmp_path: Path) -> None:
    [task] = own('pattern = "{premise} [P] [Y]"\n[data]\ntrain = "train.jsonl"\n')
    assert (task.name, task.label, task.max_length) == ("own", "own", None)
    assert (task.metrics, task.select_on) == (("accuracy", "macro_f1"), ("accuracy",))
    splits = task.splits
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [22, 2, 6]
    assert splits.notes == ("own: 6 records were held out of train to be tested on",)
    [again] = own('pattern = "{premise} [P] [Y]"\n[data]\ntrain = "train.jsonl"\n')
    assert again.splits == splits
    path = tmp_path / "own.toml"
    said = define(read_definition(path)).said
    listed = ", ".join(sorted(LABELS))
    assert said == (f"own: answers are 3 labels, each its own word: {listed}",)


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        (
            'choices = ["premise", "hypothesis"]\nfield = "right"',
            Choices(("premise", "hypothesis")),
        ),
        (
            'candidates = ["entailment", "contradiction", "neutral"]',
            Ranked({"candidates": (*LABELS,)}),
        ),
        ('candidates = "words.txt"', Ranked({"candidates": (*LABELS,)})),
        ("text = { max_tokens = 3 }", Text(3)),
    ],
)
def test_each_kind_of_answer_has_its_table(table: str, answer: Any, own, tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        write(tmp_path / f"{name}.jsonl", [{**row, "right": 1} for row in _rows(6)])
    (tmp_path / "words.txt").write_text("\ufeffentailment\n\ncontradiction \nneutral\nneutral\n")
    text = CB[: CB.index("[answer]")].replace('metrics = ["accuracy", "macro_f1"]\n', "")
    [task] = own(f"{text}[answer]\n{table}\n")
    assert task.wording.answer == answer
    expected = "hypothesis" if isinstance(answer, Choices) else "entailment"
    assert answer.expected(task.splits.test[0]) == expected


def test_columns_are_called_as_the_file_has_them(own, tmp_path: Path) -> None:
    with (tmp_path / "train.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["No.", "The text", "kind"])
        writer.writerows([[f"t{i}", f"text {i}", "ab"[i % 2]] for i in range(20)])
    text = 'pattern = "{text} [P] [Y]"\n[data]\ntrain = "train.csv"\n[answer]\nfield = "kind"\n'
    text += "words = { a = 'x', b = 'y' }\n[columns]\ntext = 'The text'\nid = 'No.'\n"
    [task] = own(text)
    record = task.splits.train[0]
    assert record.fields["text"] == record.fields["The text"] == f"text {record.id[1:]}"
    assert record.answer in ("a", "b")
    assert dict(task.columns) == {"text": "The text", "id": "No.", "answer": "kind"}


def test_each_name_in_a_file_of_several_tasks_is_a_task(own, tmp_path: Path) -> None:
    rows = [{**row, "taskname": "xy"[i % 2]} for i, row in enumerate(_rows(40))]
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "test.jsonl", rows)
    tasks = own(CB.replace('"dev.jsonl"', "0.2"))
    assert [task.name for task in tasks] == ["x", "y"]
    assert [len(task.splits.dev) for task in tasks] == [4, 4]
    assert {r.task for r in tasks[1].splits.learned} == {"y"}
    check_names(tasks)
    with pytest.raises(UserError, match="task name x is used twice; give each task its own"):
        check_names([*tasks, tasks[0]])


def test_a_conversation_is_asked_as_it_stands(own, tmp_path: Path) -> None:
    turns = [
        [{"role": "user", "content": f"Hi {i}"}, {"role": "assistant", "content": f"Bye {i}"}]
        for i in range(10)
    ]
    write(tmp_path / "train.jsonl", [{"messages": each} for each in turns])
    definition = tmp_path / "own.toml"
    definition.write_text('chat = true\n[data]\ntrain = "train.jsonl"\n')
    defined = define(read_definition(definition))
    [task] = defined.tasks
    assert defined.chat and task.wording.pattern.text == "{user...} [P]*4 [Y]"
    assert isinstance(task.wording.answer, Text) and task.splits.train[0].answer.startswith("Bye")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "cb"', "name = ", "not TOML"),
        ('name = "cb"', "name = 7", "name = 7 is not as it should be"),
        ('name = "cb"', 'nmae = "cb"', "nothing is called nmae; there are answer, chat"),
        ("192", "-5", "max_length = -5 is not"),
        ("192", "true", "max_length = True is not"),
        ("192", '"long"', "max_length = 'long' is not"),
        ('["accuracy", "macro_f1"]', "[1]", "metrics = .1. is no list of texts"),
        ('["accuracy", "macro_f1"]', '["acuracy"]', "unknown metric 'acuracy'; did you mean 'acc"),
        ('["accuracy", "macro_f1"]', '["rouge_l"]', "'rouge_l' is not for answers of kind 'words'"),
        ("[data]", "[date]", "nothing is called date"),
        ("[data]", "data = 3\n[columns]", "data is no table; write .data."),
        ('train = "train.jsonl"\n', "", "no train; name the file to learn from"),
        ('"train.jsonl"', "0.5", "train = 0.5 is no text"),
        ('"train.jsonl"', '"nowhere.jsonl"', "nowhere.jsonl"),
        ('"dev.jsonl"', "1.5", "dev = 1.5 is neither a file nor a share below 1"),
        ('"dev.jsonl"', "true", "dev = True is neither"),
        ('"test.jsonl"', "-0.5", "test = -0.5 is neither"),
        ('"test.jsonl"', "0", "task cb: there are no test records"),
        ('"test.jsonl"', '"test.jsonl"\non_bad_record = "ignore"', "neither 'skip' nor 'stop'"),
        ('"test.jsonl"', '"test.jsonl"\nvalid = "x"', ".data.: nothing is called valid"),
        ("{hypothesis}", "{hypotesis}", "jsonl:1: no field 'hypotesis'; it has premise, hypothes"),
        ("Answer: [Y]", "Answer:", "has no targets"),
        ("[P]*4 Answer", "[Y] Answer", "2 targets"),
        ("[P]*4", "[P]*0", "is not allowed"),
        (
            'pattern = "{premise...} Question: {hypothesis}? [P]*4 Answer: [Y]"\n',
            "",
            "no pattern; w",
        ),
        ('neutral = "Maybe"', 'other = "Maybe"', "jsonl:3: label 'neutral' has no word; there are"),
        ('neutral = "Maybe"', 'neutral = ""', "label neutral has no word"),
        ('field = "label"', "field = 3", "field = 3 is no text"),
        (
            'field = "label"',
            'field = "kind"',
            "jsonl:1: no column 'kind' for the answer.*; there are",
        ),
        ('field = "label"', 'text = {}\nfield = "label"', "needs one of .*; it has text, words"),
        ("words = {", "candidates = 'none.txt'\n#", "candidate file .*none.txt: No such file"),
        ("words = {", "candidates = []\n#", "candidates: the list is empty"),
        ("[answer]", "[columns]\npremise = 3\n[answer]", "columns: premise = 3 is not the name"),
    ],
)
def test_what_is_wrong_in_a_task_file_is_said_in_one_line(
    old: str, new: str, message: str, own
) -> None:
    assert old in CB
    with pytest.raises(UserError, match=message) as refusal:
        own(CB.replace(old, new))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = '\xe9'", b"[" * 99999])
def test_what_is_no_toml_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    with pytest.raises(UserError, match="task file .*own.toml: No such file"):
        read_definition(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="task file .*own.toml.*: (not TOML|not UTF-8)"):
        read_definition(path)


@pytest.mark.parametrize("name", ["train", "dev", "test"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no records"),
        ([{"premise": "a", "hypothesis": "b"}], "jsonl:1: .*answer"),
        ([{"premise": "a", "hypothesis": "b", "label": " "}], "jsonl:1: .*answer"),
        ([{"premise": "a", "label": "neutral"}], "jsonl:1: no field 'hypothesis'"),
        ([{"premise": "a", "hypothesis": "b", "label": "maybe"}], "label 'maybe' has no word"),
    ],
)
def test_a_split_that_cannot_be_used_is_named(
    name: str, rows: list[dict[str, str]], message: str, own, tmp_path: Path
) -> None:
    write(tmp_path / f"{name}.jsonl", rows)
    with pytest.raises(UserError, match=message):
        own()


def test_bad_lines_are_counted_where_they_are_to_be_skipped(own, tmp_path: Path) -> None:
    with (tmp_path / "train.jsonl").open("a") as stream:
        stream.write("{oops\n\n[1]\n")
    with pytest.raises(UserError, match="train.jsonl:31: bad record"):
        own()
    [task] = own(CB.replace("[answer]", 'on_bad_record = "skip"\n[answer]'))
    assert len(task.splits.train) == 30 and task.splits.dropped.total() == 2


def _flags(base: Path, **more: Any) -> Definition:
    flags = {"pattern": "{premise} [P] [Y]", "train": "train.jsonl", **more}
    return Definition(base=base, where="the command line", **flags)


def test_a_few_flags_are_enough(own, tmp_path: Path) -> None:
    defined = define(_flags(tmp_path, answer_column="label"))
    [task] = defined.tasks
    assert task.name == "train" and set(task.wording.answer.words) == set(LABELS)
    assert len(defined.said) == 1
    with pytest.raises(UserError, match="the command line: no pattern; write one such as"):
        define(_flags(tmp_path, pattern=""))


@pytest.mark.parametrize("value", TOML_VALUES, ids=range(len(TOML_VALUES)))
def test_any_value_in_a_task_file_is_taken_or_refused_in_one_line(
    value: str, tmp_path: Path
) -> None:
    path = good.own(tmp_path) / "where.toml"
    lines = good.TASK.splitlines()
    for place, line in enumerate(lines):
        if "=" in line:
            name = line.partition("=")[0]
            path.write_text("\n".join([*lines[:place], f"{name}= {value}", *lines[place + 1 :]]))
            try:
                define(read_definition(path))
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error)


def test_empty_texts_are_used_and_told(tmp_path: Path) -> None:
    rows = [{"text": "  " if i < 3 else f"word {i}", "label": "ab"[i % 2]} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = {"pattern": "{text} [P] [Y]", "train": "rows.jsonl", "name": "t"}
    [task] = define(Definition(tmp_path, "flags", **flags)).tasks
    assert "t: 'text' is empty in 3 records, used as they are" in task.splits.notes


def test_a_table_of_another_separator_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text;label\ngood;a\nbad;b\n")
    flags = {"pattern": "{text} [P] [Y]", "train": "rows.csv", "name": "t"}
    with pytest.raises(UserError, match="separated by ';', not by commas"):
        define(Definition(tmp_path, "flags", **flags))
