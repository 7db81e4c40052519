"""Curves of a run go where they were asked to, each step once, also when it goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.tune.launcher import main

SMALL = (
    *("--dtype", "float32", "--max_steps", "6", "--batch_size", "4", "--method", "ptuning"),
    *("--encoder", "none", "--eval_every", "3", "--checkpoint_every", "2", "--speed", "plain"),
)
Own = Callable[..., list[str]]


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("every", ["2", "3"])
def test_a_run_that_goes_on_writes_each_step_once(
    every: str, own: Own, tiny_gpt2: Path, tmp_path: Path
):
    out = tmp_path / "out"
    flags = [*own("where"), "--model", str(tiny_gpt2), *SMALL, "--report_to", "jsonl"]
    flags += ["--checkpoint_every", every]
    assert main([*flags, "--output_dir", str(out)]) == 0
    assert not (out / "tensorboard").exists()
    before = lines_of(out)
    assert [line["step"] for line in before if "train/loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in before if "dev/where" in line] == [3, 6]
    # As if it had been killed after step 5: the checkpoint of step 4, or 3, is the last.
    shutil.rmtree(out / "checkpoint" / "step-000006")
    assert main(["--resume_from", str(out)]) == 0
    for name in ("step", "train/loss", "train/lr", "dev/where"):
        after = [line[name] for line in lines_of(out) if name in line]
        assert after == [line[name] for line in before if name in line]
    # The report has the curves of the whole run too.
    training = json.loads((out / "results.json").read_text())["methods"]["ptuning"]["training"]
    assert training["losses"] == [line["train/loss"] for line in before if "train/loss" in line]
    assert training["dev_curve"]["where"] == [
        [line["step"], line["dev/where"]] for line in before if "dev/where" in line
    ]


def test_none_leaves_no_curves(own: Own, tiny_gpt2: Path, tmp_path: Path):
    out = tmp_path / "out"
    flags = [*own("where"), "--model", str(tiny_gpt2), *SMALL, "--report_to", "none"]
    assert main([*flags, "--output_dir", str(out)]) == 0
    assert not {"tensorboard", "curves.jsonl"} & {path.name for path in out.iterdir()}


def test_an_unknown_tracker_is_refused_before_anything_is_read(refused, tmp_path: Path):
    flags = ["--task", "none.toml", "--report_to", "wanbd", "--output_dir", str(tmp_path / "out")]
    refused(flags, "--report_to 'wanbd': choose from .*wandb")
    assert not (tmp_path / "out").exists()
