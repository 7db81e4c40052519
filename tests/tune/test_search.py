"""Settings that are searched for: what wins, what that is worth, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ptune_scale.train import checkpoint
from ptune_scale.tune.launcher import main
from ptune_scale.use.export import PromptExport
from ptune_scale.use.prompt import load_prompt
from tests.tune.conftest import SMALL

Own = Callable[..., list[str]]

TRIALS = """
[trials.twin]
seed = 34
[trials.short]
slots = 1
[trials.question.pattern]
where = "{place} [P]*3 or where? [Y]"
[grid]
lr = [0.001, 0.1]
encoder = ["none", "lstm"]
"""


@pytest.fixture
def search(tmp_path: Path) -> Callable[[str], list[str]]:
    """Flags of a search among the trials of a text."""

    def flags(text: str) -> list[str]:
        path = tmp_path / "trials.toml"
        path.write_text(text)
        return ["--search", str(path)]

    return flags


def test_a_trial_that_stays_trains_as_it_would_by_itself(
    own: Own, search, tiny_gpt2: Path, finished: Path, tmp_path: Path
) -> None:
    # The twin ties everywhere and goes first, so that what was typed trains to the end.
    flags = [*own("where", "capital", "choice", "city"), "--model", str(tiny_gpt2), *SMALL]
    out = tmp_path / "out"
    twin = search("[trials.twin]\nseed = 34")
    assert main([*flags, *twin, "--output_dir", str(out)]) == 0
    found = PromptExport.load(out / "prompt")
    assert torch.equal(found.prompts, PromptExport.load(finished / "prompt").prompts)
    results = json.loads((out / "results.json").read_text())
    tasks = results["methods"]["ptuning_search"]["training"]["search"]["tasks"]
    assert {task["won"] for task in tasks.values()} == {"typed"}
    assert all(t["visits"]["twin"] < t["visits"]["typed"] for t in tasks.values())


def test_what_wins_is_exported_in_its_own_words_and_scored(
    own: Own, search, tiny_gpt2: Path, tmp_path: Path
) -> None:
    flags = [*own("where", "choice"), "--model", str(tiny_gpt2), *SMALL, *search(TRIALS)]
    out = tmp_path / "out"
    assert main([*flags, "--output_dir", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    method = results["methods"]["ptuning_search"]
    searched = method["training"]["search"]
    assert len(searched["trials"]) == 8
    assert sum(trial["won"] for trial in searched["trials"].values()) == 2
    for name, task in searched["tasks"].items():
        stayed = [t for t, visits in task["visits"].items() if visits == 12]
        assert stayed == [task["won"]]
        # Of eight trials four stop at the first rung, two at the second, one at the third.
        assert sorted(task["visits"].values()) == [3, 3, 3, 3, 3, 3, 6, 12]
        assert method["tasks"][name]["records"] == 12
    # The prompt answers as was scored.
    export = PromptExport.load(out / "prompt")
    assert [t.name for t in export.tasks] == ["where", "choice"]
    assert [t.wording.pattern.text for t in export.tasks] == list(method["patterns"].values())
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    mine = [x for x in lines if (x["method"], x["task"]) == ("ptuning_search", "where")]
    test = Path(own("where")[1]).with_name("test.jsonl")
    records = [json.loads(line) for line in test.read_text().splitlines()]
    asked = load_prompt(out / "prompt", model=str(tiny_gpt2)).predict(records, task="where")
    assert [each.answer for each in asked] == [line["answer"] for line in mine]
    # Stopped half way, or while what won is scored, it goes on to the same prompt.
    steps = checkpoint.checkpoints(out / "checkpoint")
    for step in (steps[0], steps[-1]):
        again = tmp_path / step.name
        again.mkdir()
        shutil.copy(out / "run.json", again)
        shutil.copytree(step, again / "checkpoint" / step.name)
        assert main(["--resume_from", str(again), "--rows_per_forward", "5"]) == 0
        prompts = [PromptExport.load(path / "prompt").prompts for path in (out, again)]
        torch.testing.assert_close(prompts[0], prompts[1], atol=1e-4, rtol=1e-3)
        found = json.loads((again / "results.json").read_text())["methods"]["ptuning_search"]
        assert found["training"]["search"] == searched


def test_a_trial_that_diverges_is_dropped_and_the_others_go_on(
    own: Own, search, tiny_gpt2: Path, tmp_path: Path, capsys
) -> None:
    flags = [*own("where", "choice"), "--model", str(tiny_gpt2), *SMALL]
    wild = '[trials.wild]\nlr = 1e30\nencoder = "none"\nmax_grad_norm = 0.0'
    out = tmp_path / "out"
    assert main([*flags, *search(wild), "--output_dir", str(out)]) == 0
    assert "diverged" in (out / "search.md").read_text()
    results = json.loads((out / "results.json").read_text())
    tasks = results["methods"]["ptuning_search"]["training"]["search"]["tasks"]
    assert {task["won"] for task in tasks.values()} == {"typed"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has 0 trials; write 1 to 255"),
        ("[trails.a]\nlr = 1", "unknown trails; did you mean trials"),
        ("[trials.a]\nwamup = 0.1", "unknown wamup; did you mean warmup.*it can set lr, schedule"),
        ("[trials.a]\nlr = -0.1", "trial 'a': --lr must be a positive number"),
        ("[trials.a]\nencoder = 'gru'", "--encoder must be one of lstm, mlp, none"),
        ("[trials.a]\nslots = 0", "slots must be a number of 1 or more, got 0"),
        ("[trials.a]\npattern = '{plce} [P] [Y]'", "no field 'plce'"),
        ("[trials.a]\npattern = '{place} [Y]'", "has no prompt slot"),
        ("[trials.a.pattern]\nwhen = '{place} [P] [Y]'", "table of texts by task: where"),
        ("[trials.a]\nslots = 30", "trial 'a': .*too long"),
        ("[trials.a]\npattern = '[Y] {place} [P]'", "trial 'a': .*causal model sees nothing"),
        ("[trials.typed]\nlr = 0.1", "trial 'typed' is there already"),
        ("[grid]\nlr = [0.1, 0.1]\n[trials.'lr 0.1']\nlr = 1.0", "'lr 0.1' is there already"),
        ("[grid]\nlr = 0.1", r"\[grid\] takes lists"),
        ("trials = 3", r"write \[trials.NAME\]"),
        ("[grid]\nseed = 34 35", "not TOML"),
    ],
)
def test_trials_that_make_no_sense_are_refused_in_one_line(
    text: str, message: str, own: Own, search, refused, tiny_gpt2: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = [*own("where"), "--model", str(tiny_gpt2), *search(text), "--output_dir", str(out)]
    refused(flags, message)
    assert not out.exists()


def test_a_search_without_trials_or_without_development_records_is_refused(
    own: Own, search, changed, refused, tiny_gpt2: Path
) -> None:
    flags = ["--model", str(tiny_gpt2), "--method", "ptuning_search"]
    refused([*own("where"), *flags], "--method ptuning_search needs --search FILE")
    other = [*own("where"), *flags[:2], "--method", "manual", "--search", "t.toml"]
    refused(other, "--search is for ptuning, which --method manual leaves out")
    without = changed("where", 'dev = "dev.jsonl"', "dev = 0")
    refused([*without, *flags, *search("[trials.a]\nlr = 0.1")], "has no development records")
