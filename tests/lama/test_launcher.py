"""The LAMA job as its users start it, on tiny models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = [sys.executable, str(ROOT / "launchers" / "lama.py")]
DEEPSPEED = [sys.executable, "-m", "deepspeed.launcher.runner", LAUNCHER[1]]
SMALL = [
    *("--dtype", "float32", "--max_steps", "30", "--batch_size", "8", "--lr", "1e-2"),
    *("--warmup", "0", "--dev_facts", "1", "--candidates", "full_vocab"),
]


def run(command: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *flags], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def flags(tiny_gpt2: Path, tiny_facts: Path, tmp_path: Path) -> list[str]:
    model = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts)]
    return [*model, *SMALL, "--output_dir", str(tmp_path / "out")]


@pytest.mark.parametrize("command", [LAUNCHER, DEEPSPEED], ids=["python", "deepspeed"])
def test_ranks_train_as_many_as_asked_for(command, flags, tmp_path):
    done = run(command, *flags, "--num_gpus", "2", "--encoder_placement", "owned")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["world_size"], results["layout"]) == (2, "dp2")
    assert results["training"]["steps"] == 30
    [line] = [text for text in done.stderr.splitlines() if "lama.py: warning:" in text]
    assert "--encoder_sharing none" in line
    [chosen] = [text for text in done.stderr.splitlines() if text.startswith("layout: ")]
    assert "2 replicas" in chosen and "--zero_stage 3" in chosen


def test_objects_of_any_length_on_two_ranks_are_answered_as_by_one_process(flags, tmp_path, main):
    flags += ["--objects", "all", "--method", "manual,ptuning", "--max_steps", "4"]
    two = tmp_path / "two"
    done = run(LAUNCHER, *flags, "--num_gpus", "2", "--output_dir", str(two))
    assert done.returncode == 0, done.stderr[-3000:]
    assert main(*flags) == 0
    answers = []
    for out in (tmp_path / "out", two):
        lines = (out / "predictions.jsonl").read_text().splitlines()
        answers.append([json.loads(line)["answer"] for line in lines])
        results = json.loads((out / "results.json").read_text())
        assert "exact_match" in results["methods"]["ptuning"]["micro"]
    assert answers[0] == answers[1]


def test_resuming_what_is_finished_says_so_and_keeps_its_throughput(flags, tmp_path, main, capsys):
    assert main(*flags) == 0
    first = json.loads((tmp_path / "out" / "results.json").read_text())
    assert main("--resume_from", str(tmp_path / "out")) == 0
    assert "nothing is left to train after step 30" in capsys.readouterr().out
    again = json.loads((tmp_path / "out" / "results.json").read_text())
    assert again["throughput"] == first["throughput"]
    assert again["throughput"]["facts_per_second"] > 0
    assert again["methods"] == first["methods"]


def test_facts_are_retrieved_for_whatever_method_shows_them(flags, tmp_path, main):
    methods = "incontext_retrieved,ptuning_retrieved,ptuning_ensemble"
    flags += ["--method", methods, "--ensemble", "retrieved,incontext_retrieved,plain"]
    assert main(*flags, "--max_steps", "2", "--demonstrations", "2") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    found = results["methods"]
    assert "nearest_facts" in results["controls"]
    shares = found["ptuning_ensemble_incontext_retrieved"]["micro"]
    assert shares["p_at_1"] == found["incontext_retrieved"]["micro"]["p_at_1"]
    assert "ptuning_retrieved" in found


def test_a_masked_model_learns_its_training_facts(tiny_bert, flags, tmp_path, main):
    flags += [
        "--model",
        str(tiny_bert),
        "--template",
        "[P]*2 [X] [P]*2 [Y] .",
        "--max_steps",
        "120",
    ]
    assert main(*flags) == 0
    losses = json.loads((tmp_path / "out" / "results.json").read_text())["training"]["losses"]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert (tmp_path / "out" / "prompt").is_dir() and (tmp_path / "out/plots/p_at_1.png").is_file()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_is_not_a_number_ends_the_run_with_one_line(ranks, tiny_gpt2, flags, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_gpt2.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["transformer.ln_f.weight"] = torch.full_like(
        weights["transformer.ln_f.weight"], float("nan")
    )
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    flags += ["--model", str(broken), "--method", "ptuning", "--num_gpus", str(ranks)]
    done = run(LAUNCHER, *flags, "--self_check", "off")
    assert done.returncode == 2
    assert done.stderr.count("lama.py: error: the loss is nan at step 1") == 1
    assert "Traceback" not in done.stderr and "FAILED" not in done.stderr
    assert not (tmp_path / "out" / "results.json").exists()
    if ranks > 1:  # what is not trained is not scored either, and the weight is named
        out = ["--output_dir", str(tmp_path / "out2")]
        done = run(LAUNCHER, *flags, *out, "--method", "manual", "--self_check", "off")
        assert done.returncode == 2
        named = "not finite: weight 'transformer.ln_f.weight' holds NaN"
        assert done.stderr.count(named) == 1


def test_an_exported_prompt_is_asked_for_whole_words(flags, tmp_path, main, capsys):
    assert main(*flags) == 0
    asked = ["--prompt", str(tmp_path / "out" / "prompt"), "--subject", "Norway"]
    capsys.readouterr()
    assert main(*asked, "--relation", "capital") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines] == [f"{place}." for place in range(1, 6)]
    assert main(*asked) == 2
    assert "--prompt needs --subject and --relation" in capsys.readouterr().err
    assert main(*asked, "--relation", "P99") == 2
    assert "the prompt has no task 'P99'; it has P36, P30" in capsys.readouterr().err
