"""What a run on tasks of a user's own refuses, before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

Own = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("task", "old", "new", "message"),
    [
        ("where", "{place...}", "{plac}", r"train.jsonl:1: no field 'plac'; it has"),
        ("where", "in the [P] [Y]", "in the", "has no targets"),
        ("where", "[P] [Y]", "[Y] [Y]", "has 2 targets"),
        ("where", "[P]*2 in the [P]", "in the", "has no prompt slot .P. to train"),
        ("where", "[P] [Y]", "[Y] [P]", "slots there cannot be tuned"),
        ("where", 'south = "Rome"', 'west = "Rome"', "label 'south' has no word"),
        ("where", 'south = "Rome"', 'south = "Oslo"', "'north' and 'south' .* are the same tokens"),
        ("where", "max_length = 24", "max_length = 4", "too long for the 4 of max_length"),
        ("capital", "max_tokens = 4", "max_tokens = 1", "1, as 23 of 44 answers do; the longest"),
        ("choice", '"other"]', '"othr"]', "jsonl:1: choice othr is empty or missing"),
        ("city", '"Rome", ', "", "answer 'Rome' is none of the 4 candidates"),
        ("city", "[data]", "[dta]", "nothing is called dta"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused_in_one_line_and_nothing_is_written(
    task: str, old: str, new: str, message: str, changed, refused, tiny_gpt2: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = changed(task, old, new)
    refused([*flags, "--model", str(tiny_gpt2), "--output_dir", str(out)], message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --task FILE.toml, or --train FILE with --pattern and --answer"),
        (["--task", "none.toml"], "task file none.toml: No such file"),
        (["--train", "none.jsonl", "--pattern", "{a} [P] [Y]"], "none.jsonl"),
        (["--train", "x.jsonl", "--words", "a=b", "--choices", "a,b"], "give one of --words"),
        (["--train", "x.jsonl", "--dev", "1.5", "--pattern", "{a} [P] [Y]"], "--dev 1.5: a share"),
        (["--train", "x.jsonl", "--words", "a", "--pattern", "{a} [P] [Y]"], "'a' is no name=val"),
        (["--train", "x.jsonl", "--method", "magic"], "choose from majority, manual, ptuning"),
        (["--train", "x.jsonl", "--max_step", "3"], "did you mean --max_steps"),
    ],
)
def test_flags_that_make_no_sense_are_refused_in_one_line(
    flags: list[str], message: str, refused, tiny_gpt2: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused([*flags, "--model", str(tiny_gpt2), "--output_dir", "out"], message)
    assert not list(tmp_path.iterdir())


def test_two_tasks_of_one_name_are_refused(
    own: Own, tiny_gpt2: Path, tmp_path: Path, refused
) -> None:
    flags = [*own("where", "where"), "--model", str(tiny_gpt2)]
    refused([*flags, "--output_dir", str(tmp_path / "out")], "task name where is used twice")


def test_text_answers_need_a_causal_model(
    own: Own, tiny_bert: Path, tmp_path: Path, refused
) -> None:
    flags = [*own("where", "capital"), "--model", str(tiny_bert)]
    refused(
        [*flags, "--output_dir", str(tmp_path / "out")], "capital: text answers need a causal model"
    )


def test_a_directory_in_use_is_refused(own: Own, tiny_gpt2: Path, finished: Path, refused) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    flags = [*own("where"), "--model", str(tiny_gpt2), "--output_dir", str(finished)]
    refused(flags, "is in use; choose another, or go on with its run by --resume_from")
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
