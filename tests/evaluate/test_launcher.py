"""``eval`` measures what ``predict`` answers, and says what is wrong before anything is loaded."""

import json
import sys
from pathlib import Path

import pytest

from ptune_scale.evaluate import launcher
from ptune_scale.use.prompt import load_prompt
from tests.evaluate.conftest import BEHIND, PLACES, Save
from tests.forked import run_ranks


@pytest.fixture
def prompt(save: Save) -> Path:
    return save(BEHIND)


@pytest.fixture
def records(data: Path) -> Path:
    return data / "CB" / "val.jsonl"


def evaluate(*arguments: object) -> int:
    return launcher.main(["--dtype", "float32", *map(str, arguments)])


def test_metrics_are_those_of_the_answers(prompt, records, tmp_path, capsys) -> None:
    output = tmp_path / "scores.json"
    given = ("--prompt", prompt, "--task", "CB", "--input", records, "--output", output)
    assert evaluate(*given, "--metrics", "accuracy,mcc") == 0
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    answers = [found.answer for found in load_prompt(prompt).predict(lines, "CB")]
    right = [line["label"] == answer for line, answer in zip(lines, answers, strict=True)]
    scores = json.loads(output.read_text())["tasks"]["CB"]
    assert scores["accuracy"] == pytest.approx(sum(right) / len(right))
    assert scores["records"] == len(PLACES) and len(scores["interval"]["mcc"]) == 2
    table = capsys.readouterr().out
    assert "| CB | 6 | accuracy | " in table and "| CB | 6 | mcc | " in table and "[" in table


def test_a_file_of_several_tasks_is_measured_by_task(prompt, tmp_path, capsys) -> None:
    path = tmp_path / "facts.jsonl"
    facts = [{"task": "P36", "subject": place, "label": "Rome"} for place in PLACES]
    more = {"task": "CB", "premise": "a", "hypothesis": "b", "label": "neutral"}
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*facts, more, more]))
    assert evaluate("--prompt", prompt, "--input", path, "--limit", 4) == 0
    table = capsys.readouterr().out
    assert "| P36 | 4 | p_at_1 |" in table and "| CB | 2 | accuracy |" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --input FILE with right answers, or --harness TASKS"),
        (("--input", "none.jsonl"), "--prompt is needed"),
        (("--prompt", "PROMPT", "--input", "none.jsonl"), "none.jsonl"),
        (("--prompt", "PROMPT", "--input", "RECORDS"), "the prompt has several tasks"),
        (("--prompt", "PROMPT", "--input", "RECORDS", "--task", "RTE"), "no task 'RTE'"),
        (
            ("--prompt", "PROMPT", "--input", "RECORDS", "--task", "CB", "--metrics", "mrr"),
            "metric 'mrr' is not for answers of kind 'words'",
        ),
        (
            ("--prompt", "PROMPT", "--input", "RECORDS", "--task", "CB", "--metrics", "f2"),
            "unknown metric 'f2'",
        ),
        (("--prompt", "PROMPT", "--harness", "x", "--metrics", "mcc"), "--metrics without --input"),
        (
            ("--prompt", "PROMPT", "--input", "RECORDS", "--task", "CB", "--output", "RECORDS"),
            "is there already",
        ),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message, prompt, records, capsys) -> None:
    places = {"PROMPT": prompt, "RECORDS": records}
    assert evaluate(*[places.get(each, each) for each in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0]


@pytest.mark.parametrize("answer", [{}, {"label": "maybe"}])
def test_a_record_without_a_right_answer_is_named(answer, prompt, tmp_path, capsys) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text(json.dumps({"premise": "a", "hypothesis": "b", **answer}))
    assert evaluate("--prompt", prompt, "--task", "CB", "--input", path) == 2
    error = capsys.readouterr().err
    assert "new.jsonl:1" in error and ("no right answer" in error or "'maybe'" in error)


def test_the_harness_is_asked_by_the_command_too(prompt, data, tmp_path, capsys) -> None:
    pytest.importorskip("lm_eval", reason="pip install lm-eval")
    output = tmp_path / "scores.json"
    given = ("--prompt", prompt, "--harness", "ptune_cb,ptune_lama", "--limit", 5)
    assert evaluate(*given, "--data_dir", data, "--output", output) == 0
    found = json.loads(output.read_text())["harness"]
    assert found["ptune_cb"]["sample_len"] == found["ptune_lama"]["sample_len"] == 5
    assert "|ptune_lama|" in capsys.readouterr().out
    assert evaluate("--prompt", prompt, "--harness", "no_such_task") == 2
    assert "no task no_such_task" in capsys.readouterr().err


def test_several_ranks_measure_what_one_does(prompt, data, records, tmp_path) -> None:
    pytest.importorskip("lm_eval", reason="pip install lm-eval")
    given = ["--prompt", str(prompt), "--task", "CB", "--input", str(records)]
    given += ["--harness", "ptune_cb", "--data_dir", str(data), "--dtype", "float32"]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert launcher.main([*given, "--output", str(one)]) == 0
    layout = ["--num_gpus", "2", "--pipeline_parallel", "2"]
    run_ranks(2, tmp_path, launcher.main, [*given, *layout, "--output", str(two)])
    found, expected = (json.loads(path.read_text()) for path in (two, one))
    for part in ("tasks", "harness"):
        assert found[part] == expected[part]


def test_a_harness_that_is_not_there_is_named_with_its_command(prompt, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert evaluate("--prompt", prompt, "--harness", "ptune_cb") == 2
    assert "--harness needs lm-eval: pip install lm-eval" in capsys.readouterr().err
