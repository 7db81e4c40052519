"""The LAMA job as its users start it, on tiny models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = str(ROOT / "launchers" / "lama.py")
SMALL = [
    *("--dtype", "float32", "--max_steps", "30", "--batch_size", "8", "--lr", "1e-2"),
    *("--warmup", "0", "--dev_facts", "1", "--candidates", "full_vocab"),
]
DEEPSPEED = [sys.executable, "-m", "deepspeed.launcher.runner"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def run(command: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *flags], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("command", "ranks"),
    [
        pytest.param([sys.executable, LAUNCHER], 1, id="python"),
        pytest.param([sys.executable, LAUNCHER, "--num_gpus", "2"], 2, id="python --num_gpus"),
        pytest.param([*TORCHRUN, LAUNCHER], 2, id="torchrun"),
        pytest.param(
            [*DEEPSPEED, LAUNCHER, "--num_gpus", "2"], 2, id="deepspeed SCRIPT --num_gpus"
        ),
        pytest.param(
            [*DEEPSPEED, "--num_gpus", "2", LAUNCHER], 2, id="deepspeed --num_gpus SCRIPT"
        ),
    ],
)
def test_each_launcher_gives_the_ranks_asked_for(command, ranks, tiny_gpt2, tiny_facts, tmp_path):
    out = tmp_path / "out"
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--output_dir", str(out)]
    done = run(command, *flags, *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((out / "results.json").read_text())
    assert results["world_size"] == ranks
    assert results["layout"] == ("single" if ranks == 1 else "zero3")
    assert results["training"]["steps"] == 30


def test_resuming_what_is_finished_says_so_and_keeps_its_throughput(
    tiny_gpt2, tiny_facts, tmp_path
):
    out = tmp_path / "out"
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--output_dir", str(out)]
    assert run([sys.executable, LAUNCHER], *flags, *SMALL).returncode == 0
    first = json.loads((out / "results.json").read_text())
    done = run([sys.executable, LAUNCHER], "--resume_from", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing is left to train after step 30" in done.stdout
    again = json.loads((out / "results.json").read_text())
    assert again["throughput"] == first["throughput"]
    assert again["throughput"]["facts_per_second"] > 0
    assert again["methods"] == first["methods"]


def test_a_masked_model_learns_its_training_facts(tiny_bert, tiny_facts, tmp_path):
    out = tmp_path / "out"
    flags = ["--model", str(tiny_bert), "--data_dir", str(tiny_facts), "--output_dir", str(out)]
    template = ["--template", "[P]*2 [X] [P]*2 [Y] ."]
    done = run([sys.executable, LAUNCHER], *flags, *SMALL, *template, "--max_steps", "120")
    assert done.returncode == 0, done.stderr[-3000:]
    losses = json.loads((out / "results.json").read_text())["training"]["losses"]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert (out / "prompt").is_dir() and (out / "p_at_1.png").is_file()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_is_not_a_number_ends_the_run_with_one_line(
    ranks, tiny_gpt2, tiny_facts, tmp_path
):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_gpt2.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["transformer.ln_f.weight"] = torch.full_like(
        weights["transformer.ln_f.weight"], float("nan")
    )
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    flags = ["--model", str(broken), "--data_dir", str(tiny_facts), "--method", "ptuning"]
    flags += ["--num_gpus", str(ranks), "--output_dir", str(tmp_path / "out")]
    done = run([sys.executable, LAUNCHER], *flags, *SMALL)
    assert done.returncode == 2
    assert done.stderr.count("lama.py: error: the loss is nan at step 1") == 1
    assert "Traceback" not in done.stderr and "FAILED" not in done.stderr
    assert not (tmp_path / "out" / "results.json").exists()


def test_directory_that_cannot_be_locked_is_one_line_of_all_ranks(tiny_gpt2, tiny_facts, tmp_path):
    out = tmp_path / "out"
    (out / ".lock").mkdir(parents=True)
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--output_dir", str(out)]
    done = run([sys.executable, LAUNCHER, "--num_gpus", "2"], *flags, *SMALL)
    assert done.returncode == 2
    [line] = [text for text in done.stderr.splitlines() if text.startswith("lama.py: ")]
    assert f"--output_dir {out}" in line
    assert "Traceback" not in done.stderr and "FAILED" not in done.stderr


def test_owned_placement_of_one_shared_encoder_is_warned_of(tiny_gpt2, tiny_facts, tmp_path):
    out = tmp_path / "out"
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--output_dir", str(out)]
    owned = ["--num_gpus", "2", "--encoder_placement", "owned"]
    done = run([sys.executable, LAUNCHER], *flags, *SMALL, *owned, "--max_steps", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    [line] = [text for text in done.stderr.splitlines() if "lama.py: warning:" in text]
    assert "--encoder_sharing none" in line
