"""The command: what it prints and writes, and one clear line for a bad request."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.plan.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_launcher_writes_what_it_prints(tmp_path):
    path = tmp_path / "plan.json"
    flags = ["--model", "megatron-11b", "--tensor_parallel", "8", "--json", str(path)]
    command = [sys.executable, str(ROOT / "launchers" / "plan.py"), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert found["parameters_total"] == 11_032_246_272
    assert found["layout"] == "tp8" and len(found["layouts_considered"]) == 1
    assert f"{found['parameters_per_rank']:,}" in done.stdout
    assert found["bytes_per_rank"]["total"] == sum(
        size for name, size in found["bytes_per_rank"].items() if name != "total"
    )
    assert set(found["communication_per_step"]) == {"all_gather", "all_reduce", "point_to_point"}


def test_without_a_layout_all_are_compared(tmp_path, capsys, tiny_gpt2):
    path = tmp_path / "plan.json"
    flags = ["--num_gpus", "4", "--gpu_memory", "1GB", "--json", str(path)]
    assert main(["--model", str(tiny_gpt2), *flags]) == 0
    printed = capsys.readouterr().out
    layouts = {each["layout"] for each in json.loads(path.read_text())["layouts_considered"]}
    assert layouts == {"dp4", "zero3", "dp2 x pp2", "dp2 x tp2", "zero3(2) x tp2", "pp2 x tp2"}
    assert all(f" {layout} " in printed for layout in layouts)
    assert "*  dp4" in printed and "* dp4 fits" in printed


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_gpus", "0"], ["--num_gpus must be 1 or more"]),
        (["--gpu_memory", "plenty"], ["--gpu_memory", "plenty"]),
        (["--tensor_parallel", "3"], ["not a multiple of 3"]),
        (["--num_gpus", "9", "--tensor_parallel", "9"], ["does not divide the 32 attention heads"]),
        (["--zero_stage", "3", "--pipeline_parallel", "2"], ["--zero_stage 3 with --pipeline"]),
        (["--model", "nowhere/config.json"], ["nowhere/config.json", "no such file"]),
        (["--sequence_length", "4000"], ["--sequence_length 4000", "1024"]),
        (
            ["--json", f"{__file__}/plan.json", "--pipeline_parallel", "8"],
            [f"{__file__}/plan.json"],
        ),
        (["--batch", "many"], ["--batch"]),
    ],
)
def test_a_bad_request_is_one_clear_line(flags, words, capsys):
    assert main(["--model", "megatron-11b", *flags]) == 2
    printed = capsys.readouterr()
    [line] = [text for text in printed.err.splitlines() if "plan: error:" in text]
    assert all(word in line for word in words)
    assert not printed.out and "Traceback" not in printed.err


def test_a_configuration_without_a_language_model_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert main(["--model", str(tmp_path / "config.json")]) == 2
    assert "no usable configuration" in capsys.readouterr().err
