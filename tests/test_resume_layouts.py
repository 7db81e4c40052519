"""A run may stop in one layout and go on in another, again and again, to the same result."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from ptune_scale import checkpoint
from ptune_scale.export import PromptExport

ROOT = Path(__file__).resolve().parents[1]
STEPS = 240


def start(*flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "launchers" / "lama.py"), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_until(run: Path, step: int, *flags: str) -> None:
    """Stop a run by SIGTERM once it has a checkpoint of some step or later."""
    process = start(*flags)
    deadline = time.monotonic() + 200
    while _latest(run) < step:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=100)[0]
    assert process.returncode != 0
    assert _latest(run) < STEPS, f"it ended before it could be stopped: {output[-2000:]}"


def _latest(run: Path) -> int:
    found = checkpoint.checkpoints(run / "checkpoint")
    return int(found[-1].name.removeprefix("step-")) if found else 0


def finish(*flags: str) -> None:
    process = start(*flags)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-3000:]


def test_zero3_then_tensor_then_pipeline_then_one_process(tiny_gpt2, tiny_facts, tmp_path):
    settings = [
        *("--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--dtype", "float32"),
        *("--max_steps", str(STEPS), "--batch_size", "4", "--lr", "1e-3", "--encoder", "mlp"),
        *("--dev_facts", "1", "--candidates", "full_vocab", "--checkpoint_every", "5"),
        *("--method", "ptuning", "--eval_every", "0", "--patience", "0"),
    ]
    whole, run = tmp_path / "whole", tmp_path / "run"
    finish(*settings, "--output_dir", str(whole))
    run_until(run, 40, *settings, "--num_gpus", "2", "--output_dir", str(run))
    again = ["--resume_from", str(run), "--num_gpus", "2"]
    run_until(run, 90, *again, "--zero_stage", "0", "--tensor_parallel", "2")
    run_until(
        run, 140, *again, "--zero_stage", "0", "--tensor_parallel", "1", "--pipeline_parallel", "2"
    )
    finish("--resume_from", str(run), "--num_gpus", "1", "--pipeline_parallel", "1")
    one, other = (json.loads((d / "results.json").read_text()) for d in (whole, run))
    assert other["layout"] == "single" and other["training"]["steps"] == STEPS
    torch.testing.assert_close(
        torch.tensor(other["training"]["losses"]),
        torch.tensor(one["training"]["losses"]),
        atol=1e-3,
        rtol=1e-3,
    )
    prompts = [PromptExport.load(directory / "prompt").prompts for directory in (whole, run)]
    torch.testing.assert_close(prompts[1], prompts[0], atol=1e-3, rtol=1e-2)
    assert one["methods"] == other["methods"]
