"""Layouts side by side as their users start them, on a tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.experiments.layouts.cli import main

ROOT = Path(__file__).resolve().parents[3]


def test_layouts_agree_and_are_written(tiny_gpt2, tiny_facts, tmp_path):
    path = tmp_path / "layouts.json"
    command = [sys.executable, str(ROOT / "launchers" / "layouts.py"), "--json", str(path)]
    command += ["--layouts", "2:1:1:3,2:1:2:0", "--model", str(tiny_gpt2)]
    command += ["--data_dir", str(tiny_facts), "--max_steps", "4", "--batch_size", "8"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(path.read_text())
    assert [row["layout"] for row in rows] == ["single", "zero3", "pp2"]
    assert [row["ranks"] for row in rows] == [1, 2, 2]
    assert all(row["gradient"] < 1e-5 and row["loss"] < 1e-5 for row in rows)
    assert rows[1]["largest_share"] < 0.6 and rows[1]["megabytes_per_step"] > 0
    assert all(f"| {row['layout']} | {row['ranks']} |" in done.stdout for row in rows)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--layouts", "2:1:1"], ["'2:1:1'", "RANKS:TENSOR_PARALLEL"]),
        (["--layouts", "two:1:1:0"], ["'two:1:1:0'"]),
        (["--layouts", "2:2:1:3"], ["--zero_stage 3", "one data-parallel rank"]),
        (["--layouts", "3:2:1:0"], ["3 is not a multiple of 2 x 1"]),
        ([], ["--layouts"]),
        (["--layouts", "2:1:1:3", "--json", f"{__file__}/x.json"], [f"{__file__}/x.json"]),
    ],
)
def test_a_bad_request_is_one_line(flags, words, capsys):
    assert main(flags) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert ": error: " in line
    assert all(word in line for word in words)


def test_what_is_wrong_for_the_ranks_is_said_in_one_line(tmp_path):
    command = [sys.executable, str(ROOT / "launchers" / "layouts.py"), "--layouts", "2:1:1:3"]
    command += ["--data_dir", str(tmp_path / "nothing")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "layout single failed" in line and "does not exist" in line
