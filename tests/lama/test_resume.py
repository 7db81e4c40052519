"""A job whose rank is killed ends soon, and goes on to the result of an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from ptune_scale.lama import launcher
from ptune_scale.train import checkpoint
from tests.forked import run_ranks

ROOT = Path(__file__).resolve().parents[2]
STEPS = 300


@pytest.fixture
def flags(tiny_gpt2: Path, tiny_facts: Path) -> list[str]:
    """Of a job on two ranks that takes a while."""
    return [
        *("--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--dtype", "float32"),
        *("--num_gpus", "2", "--method", "ptuning", "--max_steps", str(STEPS), "--lr", "1e-3"),
        *("--batch_size", "8", "--dev_facts", "1", "--eval_every", "20", "--patience", "0"),
        *("--candidates", "full_vocab", "--checkpoint_every", "10"),
    ]


def start(*flags: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "deepspeed.launcher.runner",
        str(ROOT / "launchers" / "lama.py"),
        *flags,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_killed_rank_ends_the_job_and_resuming_equals_an_uninterrupted_run(
    flags, tmp_path, main, capsys
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_ranks(2, tmp_path, launcher.main, [*flags, "--output_dir", str(whole)])

    job = start(*flags, "--output_dir", str(cut))
    deadline = time.monotonic() + 200
    while not list(cut.glob("checkpoint/step-*")):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    tree = psutil.Process(job.pid).children(recursive=True)
    ranks = [p for p in tree if p.environ().get("RANK") == "1" and "LOCAL_RANK" in p.environ()]
    ranks[-1].send_signal(signal.SIGKILL)
    job.communicate(timeout=60)
    assert job.returncode != 0
    assert not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not (cut / "results.json").exists()

    run_ranks(2, tmp_path, launcher.main, ["--resume_from", str(cut)])
    one, two = (json.loads((d / "results.json").read_text()) for d in (whole, cut))
    assert two["training"]["losses"] == one["training"]["losses"]
    states = []
    for directory in (whole, cut):
        path = directory / "checkpoint" / f"step-{STEPS:06d}"
        states.append(checkpoint.load_part(path, "encoder-shared")["parameters"])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    changed = ["--template", "(2, sub, 2, obj)", "--num_gpus", "1"]
    assert main("--resume_from", str(cut), *changed) == 2
    text = capsys.readouterr().err
    assert "cannot resume" in text and "content was" in text


def test_launcher_stopped_alone_takes_its_ranks_with_it_and_leaves_a_checkpoint(flags, tmp_path):
    out = tmp_path / "out"
    # Without periodic checkpoints, so that one can only be that of the stop.
    flags += ["--max_steps", "100000", "--checkpoint_every", "0", "--output_dir", str(out)]
    job = start(*flags)
    deadline = time.monotonic() + 200
    while not list(out.glob("tensorboard/*")):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    tree = psutil.Process(job.pid).children(recursive=True)
    assert tree
    job.send_signal(signal.SIGTERM)
    output = job.communicate(timeout=60)[0]
    assert job.returncode != 0
    assert "stopped by SIGTERM" in output
    _, alive = psutil.wait_procs(tree, timeout=30)
    assert not alive
    [saved] = checkpoint.checkpoints(out / "checkpoint")
    assert 0 < checkpoint.read_meta(saved)["step"] < 100000
