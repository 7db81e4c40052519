"""What is not answered: bad lines, bad flags, and outputs that are not to be written."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ptune_scale.errors import UserError
from ptune_scale.tune.answer_file import Begun
from tests.campaigns.damage import JSON_VALUES


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


BAD = [
    ('{"place": "Norway"}', None),
    ('{"place": ', "bad record"),
    ('{"city": "Rome"}', "no field 'place'; it has city"),
    ("", None),
    (f'{{"place": "{"Rome " * 30}"}}', None),
    ('{"place": "Rome"}', None),
]


def test_bad_lines_are_named_and_those_before_them_kept(predict, tmp_path: Path) -> None:
    for count, (text, message) in enumerate(BAD):
        if message is None:
            continue
        source = tmp_path / f"bad{count}.jsonl"
        source.write_text(f"{BAD[0][0]}\n" * 5 + f"\n{text}\n")
        line = predict(source, "--task", "where", "--chunk", "2", status=2, output=f"{count}.jsonl")
        assert re.search(rf"bad{count}.jsonl:7: .*{message}", line)
        assert len(read(tmp_path / f"{count}.jsonl")) == 4


def test_bad_lines_are_left_out_and_counted_where_they_are_to_be(predict, tmp_path: Path) -> None:
    source = tmp_path / "bad.jsonl"
    source.write_text("{oops\n" + "".join(f"{text}\n" for text, _ in BAD))
    skip = ["--on_bad_record", "skip"]
    predict(source, "--task", "choice", *skip, output="none.jsonl")
    assert not (tmp_path / "none.jsonl").read_text()
    said = predict(source, "--task", "where", *skip)
    answers = read(tmp_path / "answers.jsonl")
    assert [line["place"][:6] for line in answers] == ["Norway", "Rome R", "Rome"]
    assert "skipped 3 x bad record\n" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", ""], "--input is needed; see --help"),
        (["--prompt", "nowhere"], "prompt nowhere is not there"),
        (["--task", "capitals"], "has no task 'capitals'; it has where, capital, choice, city"),
        (["--input", "none.jsonl"], "none.jsonl"),
        (["--input", "empty.jsonl"], "empty.jsonl holds no records"),
        (["--input", "plain.jsonl"], "plain.jsonl:1: the prompt has several tasks: name one"),
        (["--input", "other.jsonl"], "other.jsonl:1: the prompt has no task 'x'"),
        (["--output", "answers.csv"], "answers are JSON lines; name it .*.jsonl"),
        (["--output", "new.jsonl"], "new.jsonl is there already; remove it or choose another"),
        (["--output", "dir.jsonl"], "is a directory; name a file"),
        (["--output", "empty.jsonl/a.jsonl"], "empty.jsonl"),
        (["--chunk", "0"], "--chunk must be 1 or more"),
        (["--batch", "3"], "did you mean --batch_size"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(
    flags: list[str], message: str, predict, new: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "dir.jsonl").mkdir()
    (tmp_path / "plain.jsonl").write_text('{"place": "Rome"}\n')
    (tmp_path / "other.jsonl").write_text('{"place": "Rome", "task": "x"}\n')
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert re.search(message, predict(new, *flags, status=2))
    if "other.jsonl" not in flags:  # which is found when its turn comes
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_another_model_is_refused_before_anything_is_written(
    predict, new: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    line = predict(new, "--model", str(tiny_llama), status=2)
    assert "the prompt was trained with another model than" in line
    assert not (tmp_path / "answers.jsonl").exists()


def test_a_model_that_was_moved_is_named(
    predict, new: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(tiny_gpt2, tmp_path / "moved")
    predict(new, "--model", str(moved), "--task", "city")
    assert len(read(tmp_path / "answers.jsonl")) == 20


def test_an_output_that_another_run_writes_is_refused(predict, new: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".answers.jsonl.lock"):
        assert "is in use by another run" in predict(new, status=2)
    assert not (tmp_path / "answers.jsonl").exists()


@pytest.mark.parametrize("text", ["{", "[1]", '{"rows": 3}', '{"identity": {}, "bytes": 9}'])
def test_a_damaged_note_of_how_far_it_was_is_refused(
    text: str, predict, new: Path, tmp_path: Path
) -> None:
    (tmp_path / "answers.jsonl").write_text("mine\n")
    (tmp_path / ".answers.jsonl.unfinished").write_text(text)
    line = predict(new, status=2)
    assert "answers.jsonl.unfinished" in line
    assert (tmp_path / "answers.jsonl").read_text() == "mine\n"


def test_a_link_is_not_written_through(predict, new: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").symlink_to(tmp_path / "elsewhere")
    assert "answers.jsonl is there already" in predict(new, status=2)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_record_of_progress_is_taken_or_refused_in_one_line(value: str, tmp_path) -> None:
    path = tmp_path / ".a.jsonl.unfinished"
    good = {"identity": {"prompt": "x"}, "rows": 1, "bytes": 2, "dropped": {"bad record": 1}}
    path.write_text(json.dumps(good))
    assert Begun.read(path) == Begun(**good)
    for text in (value, *(json.dumps({**good, key: "HERE"}) for key in (*good, "more"))):
        path.write_text(text.replace('"HERE"', value))
        try:
            begun = Begun.read(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert begun.rows >= 0 and begun.bytes >= 0 and all(begun.dropped.values())
