"""The LAMA job as its users start it, on tiny models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptune_scale.lama import launcher
from tests.forked import fork_ranks, run_ranks

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = str(ROOT / "launchers" / "lama.py")
SMALL = [
    *("--dtype", "float32", "--max_steps", "30", "--batch_size", "8", "--lr", "1e-2"),
    *("--warmup", "0", "--dev_facts", "1", "--candidates", "full_vocab"),
]


@pytest.fixture
def flags(tiny_gpt2: Path, tiny_facts: Path, tmp_path: Path) -> list[str]:
    model = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts)]
    return [*model, *SMALL, "--output_dir", str(tmp_path / "out")]


def test_deepspeed_s_launcher_gets_as_many_ranks_as_were_asked_for(flags, tmp_path):
    command = [sys.executable, "-m", "deepspeed.launcher.runner", LAUNCHER, *flags]
    done = subprocess.run(
        [*command, "--num_gpus", "2", "--encoder_placement", "owned"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
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
    run_ranks(2, tmp_path, launcher.main, [*flags, "--num_gpus", "2", "--output_dir", str(two)])
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


def test_a_loss_that_is_not_a_number_ends_the_run_with_one_line(
    tiny_gpt2, flags, tmp_path, main, capsys
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
    flags += ["--model", str(broken), "--self_check", "off"]
    assert main(*flags, "--method", "ptuning") == 2
    not_a_number = "ptune lama: error: the loss is nan at step 1"
    assert capsys.readouterr().err.count(not_a_number) == 1
    # On ranks too; and what is not trained is not scored either.
    named = "not finite: weight 'transformer.ln_f.weight' holds NaN"
    for method, line in (("ptuning", not_a_number), ("manual", named)):
        out = ["--num_gpus", "2", "--output_dir", str(tmp_path / method)]
        ranks = fork_ranks(2, tmp_path, launcher.main, [*flags, "--method", method, *out])
        assert [rank.wait() for rank in ranks] == [2, 2]
        said = "".join(rank.said for rank in ranks)
        assert said.count(line) == 1
        assert "Traceback" not in said and "FAILED" not in said
    for out in ("out", "ptuning", "manual"):
        assert not (tmp_path / out / "results.json").exists()


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
