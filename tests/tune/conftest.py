"""Tasks of a user's own, in files, and one run on them that the tests look at."""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.tune import launcher
from ptune_scale.tune import predict as predicting

COUNTRIES = ["Norway", "Sweden", "France", "Germany", "Italy", "Spain"]
SMALL = (
    *("--dtype", "float32", "--max_steps", "12", "--batch_size", "6", "--lr", "0.01"),
    *("--encoder", "mlp", "--eval_every", "3", "--checkpoint_every", "4"),
)
"""Few steps of all tasks together."""

TASKS = {
    "where": """
        pattern = "{place...} is [P]*2 in the [P] [Y]"
        metrics = ["accuracy", "mcc"]
        max_length = 24
        [answer]
        words = { north = ["Oslo", "Stockholm"], south = "Rome" }
    """,
    "capital": """
        pattern = "[P] {place} : [Y]"
        metrics = ["exact_match", "perplexity"]
        [answer]
        field = "text"
        text = { max_tokens = 4 }
    """,
    "choice": """
        pattern = "{place} [P]*2 is [Y]"
        [answer]
        field = "right"
        choices = ["one", "other"]
    """,
    "city": """
        pattern = "[P] {place} near [P] [Y]"
        metrics = ["p_at_1", "mrr"]
        [answer]
        field = "city"
        candidates = ["Oslo", "Rome", "Paris", "Berlin", "Madrid"]
    """,
}
"""One of each kind, in TOML."""


def _row(number: int) -> dict[str, Any]:
    country = COUNTRIES[number % 6]
    north = number % 6 in (0, 1, 3)
    return {
        "id": f"r{number}",
        "place": f"{country} a {number}",
        "label": "north" if north else "south",
        "text": "near Oslo" if north else "Rome",
        "one": "Oslo",
        "other": "Rome in Italy",
        "right": 0 if north else 1,
        "city": "Oslo" if north else "Rome",
    }


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Flags of the tasks of these names, whose files lie in one directory."""
    directory = tmp_path_factory.mktemp("own")
    write(directory / "train.jsonl", [_row(i) for i in range(24)])
    write(directory / "dev.jsonl", [_row(i) for i in range(24, 32)])
    write(directory / "test.jsonl", [_row(i) for i in range(32, 44)])
    data = '[data]\ntrain = "train.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"\n'
    for name, text in TASKS.items():
        text = "\n".join(line.strip() for line in text.splitlines())
        (directory / f"{name}.toml").write_text(text.replace("[answer]", f"{data}[answer]"))

    def flags(*names: str) -> list[str]:
        return [word for name in names for word in ("--task", str(directory / f"{name}.toml"))]

    return flags


@pytest.fixture(scope="session")
def finished(
    own: Callable[..., list[str]], tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output directory of a run on all of the tasks."""
    out = tmp_path_factory.mktemp("finished") / "out"
    model = ["--model", str(tiny_gpt2)]
    assert launcher.main([*own(*TASKS), *model, *SMALL, "--output_dir", str(out)]) == 0
    return out


@pytest.fixture
def changed(own: Callable[..., list[str]], tmp_path: Path) -> Callable[..., list[str]]:
    """Flags of a task whose file says something else."""

    def change(task: str, old: str, new: str) -> list[str]:
        source = Path(own(task)[1])
        for name in ("train", "dev", "test"):
            shutil.copy(source.with_name(f"{name}.jsonl"), tmp_path)
        text = source.read_text()
        assert old in text
        path = tmp_path / "changed.toml"
        path.write_text(text.replace(old, new))
        return ["--task", str(path)]

    return change


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Let ``tune`` refuse its flags, in one line that matches."""

    def run(flags: Sequence[str], message: str) -> None:
        assert launcher.main(flags) == 2
        assert re.search(message, _line("tune", capsys.readouterr().err))

    return run


@pytest.fixture(scope="session")
def prompt(finished: Path) -> Path:
    return finished / "prompt"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """New records of all tasks, mixed in one file."""
    places = ["Norway", "Spain near Rome", "a city", "Sweden", "the of Italy"]
    rows = [
        {"task": name, "place": place, "one": "Oslo", "other": "Madrid", "number": [1, None]}
        for place in places
        for name in TASKS
    ]
    return write(tmp_path / "new.jsonl", rows)


@pytest.fixture
def predict(prompt: Path, tmp_path: Path, capsys) -> Callable[..., str]:
    """Answer a file into answers.jsonl; returns what was said, or the line that refuses it."""

    def run(source: Path, *flags: str, status: int = 0, output: str = "answers.jsonl") -> str:
        files = ["--input", str(source), "--output", str(tmp_path / output)]
        found = predicting.main(["--prompt", str(prompt), *files, "--dtype", "float32", *flags])
        said = capsys.readouterr()
        assert found == status, said.err
        return said.out + said.err if status == 0 else _line("predict", said.err)

    return run


def _line(command: str, text: str) -> str:
    """The one line in which a command says why it ended."""
    name = f"ptune {command}: "
    [line] = [line for line in text.splitlines() if line.startswith(name)]
    return line.removeprefix(name)
