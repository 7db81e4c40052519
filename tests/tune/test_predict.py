"""Tuned prompts over a file: the answers of Python, chunk by chunk, in any layout."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.parallel import Stopped, StopSignal
from ptune_scale.tune import predict as predicting
from ptune_scale.use.prompt import load_prompt
from tests.forked import run_ranks
from tests.tune import predict_worker

NAMES = ["where", "capital", "choice", "city"]
Rows = list[dict[str, Any]]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_line_is_that_of_the_input_with_the_answer_of_python(
    predict, prompt: Path, new: Path, tmp_path: Path
) -> None:
    assert "20 records answered in" in predict(new, "--chunk", "7", "--batch_size", "3")
    rows, answers = read(new), read(tmp_path / "answers.jsonl")
    for row, line, found in zip(rows, answers, load_prompt(prompt).predict(rows), strict=True):
        scored = row["task"] in ("where", "choice")
        assert line.keys() - row.keys() == {"answer", "score"} | ({"scores"} if scored else set())
        assert {name: line[name] for name in row} == row
        assert line["answer"] == found.answer
        assert line["score"] == pytest.approx(found.score, rel=1e-4)
        if scored:
            assert list(line["scores"]) == list(found.scores)
    assert {path.name for path in tmp_path.iterdir()} == {"new.jsonl", "answers.jsonl"}


def test_one_task_of_several_is_named_and_a_table_is_read_as_well(
    predict, prompt: Path, tmp_path: Path
) -> None:
    table = tmp_path / "new.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerows([["place", "no"], ["Norway", "1"], ["Rome, Italy", "2"]])
    predict(table, "--task", "where")
    answers = read(tmp_path / "answers.jsonl")
    assert [(line["place"], line["no"]) for line in answers] == [
        ("Norway", "1"),
        ("Rome, Italy", "2"),
    ]
    found = load_prompt(prompt).predict([{"place": "Norway"}, {"place": "Rome, Italy"}], "where")
    assert [line["answer"] for line in answers] == [each.answer for each in found]


def _stop_in_chunk(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A signal that arrives while a chunk is answered."""
    chunks = 0

    def check(self: StopSignal) -> None:
        nonlocal chunks
        chunks += 1
        if chunks == number:
            raise Stopped(15)

    monkeypatch.setattr(StopSignal, "check", check)


@pytest.mark.parametrize("damage", ["", '{"task": "whe'])
def test_a_run_that_was_stopped_goes_on_where_it_was(
    damage: str, predict, new: Path, tmp_path: Path, monkeypatch
) -> None:
    # One batch a chunk.
    flags = ["--task", "where", "--chunk", "4", "--batch_tokens", "0"]
    predict(new, *flags, output="whole.jsonl")
    with monkeypatch.context() as patch:
        _stop_in_chunk(patch, 4)
        line = predict(new, *flags, status=128 + 15)
    assert line == "stopped by SIGTERM; go on by the same command"
    output = tmp_path / "answers.jsonl"
    assert output.read_text() == "".join(
        f"{line}\n" for line in (tmp_path / "whole.jsonl").read_text().splitlines()[:12]
    )
    with output.open("a") as stream:
        stream.write(damage)  # what a process wrote that was killed then
    predict(new, *flags)
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".answers")]


def test_unfinished_answers_of_something_else_are_not_gone_on_with(
    predict, new: Path, tmp_path: Path, monkeypatch
) -> None:
    flags = ["--task", "where", "--chunk", "4", "--batch_tokens", "0"]
    with monkeypatch.context() as patch:
        _stop_in_chunk(patch, 2)
        predict(new, *flags, status=128 + 15)
    before = (tmp_path / "answers.jsonl").read_bytes()
    other = predict(new, "--task", "city", status=2)
    assert "holds the unfinished answers of another prompt or input; remove it and" in other
    other = predict(new, *flags, "--dtype", "bfloat16", status=2)
    assert other.endswith(
        "its answers were begun in float32; go on with --dtype float32, or, where the model is "
        "served, with a server that was started with it"
    )
    with new.open("a") as stream:
        stream.write('{"place": "Rome"}\n')
    assert "another prompt or input" in predict(new, *flags, status=2)
    assert (tmp_path / "answers.jsonl").read_bytes() == before


def test_answers_are_the_same_in_every_layout(
    predict, prompt: Path, new: Path, tmp_path: Path
) -> None:
    predict(new, "--batch_size", "6")
    expected = read(tmp_path / "answers.jsonl")
    files = [
        "--prompt",
        str(prompt),
        "--input",
        str(new),
        "--output",
        str(tmp_path / "ranks.jsonl"),
    ]
    flags = ["--dtype", "float32", "--batch_size", "6", "--num_gpus", "2"]
    logs = tmp_path / "logs"
    logs.mkdir()
    run_ranks(2, logs, predicting.main, [*files, *flags])
    said = run_ranks(2, logs, predict_worker.main, prompt, new, tmp_path)
    # Of all layouts only stages keep no keys and values.
    assert said.count("texts are written without a cache") == 1
    for name in ("ranks", "zero3", "stages", "tensor"):
        for line, other in zip(read(tmp_path / f"{name}.jsonl"), expected, strict=True):
            assert line["answer"] == other["answer"] and line.keys() == other.keys(), name
            assert line["score"] == pytest.approx(other["score"], rel=1e-3), name
