"""A run may stop in one layout and go on in another, again and again, to the same result."""

import json
import re
import signal
import time
from pathlib import Path

import torch

from ptune_scale.lama import launcher
from ptune_scale.train import checkpoint
from ptune_scale.use.export import PromptExport
from tests.forked import fork_ranks

STEPS = 240


def train_a_while(run: Path, *flags: str) -> None:
    """Stop a run of two ranks by SIGTERM soon after it began to train; it has to save its work."""
    before, events = _latest(run), set(run.glob("tensorboard/*"))
    ranks = fork_ranks(2, run.parent, launcher.main, flags)
    deadline = time.monotonic() + 200
    while set(run.glob("tensorboard/*")) == events:
        assert all(rank.poll() is None for rank in ranks), [rank.said for rank in ranks]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    for rank in ranks:
        rank.send_signal(signal.SIGTERM)
    assert [rank.wait() for rank in ranks] == [128 + signal.SIGTERM] * 2
    output = "".join(rank.said for rank in ranks)
    assert re.search("ptune lama: stopped by SIGTERM; .*--resume_from", output), output[-3000:]
    assert "ptune lama: error" not in output
    # There are no periodic checkpoints: this one is that of the stop.
    assert before < _latest(run) < STEPS


def _latest(run: Path) -> int:
    found = checkpoint.checkpoints(run / "checkpoint")
    return checkpoint.read_meta(found[-1])["step"] if found else 0


def test_zero3_then_tensor_then_pipeline_then_one_process(tiny_gpt2, tiny_facts, tmp_path, main):
    settings = [
        *("--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--dtype", "float32"),
        *("--max_steps", str(STEPS), "--batch_size", "4", "--lr", "1e-3", "--encoder", "mlp"),
        *("--dev_facts", "1", "--candidates", "full_vocab", "--checkpoint_every", "0"),
        *("--method", "ptuning", "--eval_every", "0", "--patience", "0"),
    ]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert main(*settings, "--output_dir", str(whole)) == 0
    zero3 = ("--num_gpus", "2", "--zero_stage", "3")
    train_a_while(run, *settings, *zero3, "--output_dir", str(run))
    again = ["--resume_from", str(run), "--num_gpus", "2"]
    train_a_while(run, *again, "--zero_stage", "0", "--tensor_parallel", "2")
    train_a_while(run, *again, "--tensor_parallel", "1", "--pipeline_parallel", "2")
    assert main("--resume_from", str(run), "--num_gpus", "1", "--pipeline_parallel", "1") == 0
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
    for key in ("micro", "macro", "relations", "by_candidates", "unseen_objects"):
        assert one["methods"]["ptuning"][key] == other["methods"]["ptuning"][key]
