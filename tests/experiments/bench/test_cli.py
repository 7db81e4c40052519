"""The benchmark as its users start it, on a tiny model."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.backbone import load_backbone
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.cli import main
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.facts import read_facts
from ptune_scale.experiments.bench.feed import Feed
from ptune_scale.experiments.bench.memory import peak_memory_mb
from ptune_scale.experiments.bench.sides import Ours

ROOT = Path(__file__).resolve().parents[3]
needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed"
)


@needs_peft
def test_all_sides_are_measured_and_written(tiny_llama, tiny_facts, tmp_path):
    sections = "main,ranks,cuda"
    output = tmp_path / "out"
    command = [sys.executable, str(ROOT / "launchers" / "bench.py"), "--output_dir", str(output)]
    command += [
        "--speed",
        "plain",
        "--model",
        str(tiny_llama),
        "--data_dir",
        str(tiny_facts),
        "--sections",
        sections,
    ]
    command += ["--rounds", "2", "--section_rounds", "1", "--facts_per_round", "4"]
    command += ["--batch_size", "4", "--warmup_steps", "1", "--memory_steps", "0", "--ranks", "1"]
    command += ["--num_texts", "4", "--text_tokens", "24"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((output / "bench.json").read_text())
    top = {"ratios", "facts_per_second", "peak_memory_mb", "sections"}
    assert set(results) == top | {"versions", "machine"}
    ratios = results["ratios"]
    assert set(ratios) == {"peft_documented", "peft_same_settings", "peft_grouped", "text_cached"}
    assert ratios.pop("text_cached") is None
    for spread in ratios.values():
        assert 0 < spread["min"] <= spread["median"] <= spread["max"]
    assert results["facts_per_second"] > 0
    assert results["peak_memory_mb"] == {}
    sides = results["sections"]["main"]["sides"].values()
    assert len({round["facts"] for side in sides for round in side["rounds"]}) == 1
    assert {len(side["rounds"]) for side in sides} == {2}
    measured = results["sections"]
    assert set(measured) == set(sections.split(","))
    texts = measured["main"]["texts"]
    assert [point["label"]["slots"] for point in texts] == ["in front", "around", "behind"]
    assert {r["facts"] for p in texts for s in p["sides"].values() for r in s["rounds"]} == {4}
    assert set(measured["main"]["predict"]["sides"]) == {"peft", "transformers", "ours"}
    assert measured["ranks"]["points"][0]["facts_per_second"] > 0
    assert "torch" in measured["cuda"]["skipped"] and "section cuda skipped" in done.stderr
    table = (output / "bench.md").read_text()
    assert all(f"## {name}" in table for name in measured)
    assert table.strip() in done.stdout
    assert (output / "bench.png").stat().st_size > 1000


def test_peak_memory_is_that_of_a_process_of_its_own(tiny_llama, tiny_facts):
    flags = {"model": str(tiny_llama), "data_dir": str(tiny_facts), "batch_size": 4}
    config = BenchSections.from_flags(flags)
    case = Case.of(config, read_facts(config.data))
    peak = peak_memory_mb("ours", case, [Feed(case).round(steps=1)], threads=1)
    weights = sum(p.nbytes for p in load_backbone(str(tiny_llama)).lm.parameters())
    assert peak > weights / 2e6  # bf16


@needs_peft
def test_what_is_left_out_is_measured_beside_what_is_not(tiny_llama, tiny_facts, tmp_path, capsys):
    flags = ["--output_dir", str(tmp_path), "--model", str(tiny_llama), "--section_rounds", "1"]
    flags += ["--data_dir", str(tiny_facts), "--facts_per_round", "4", "--batch_size", "4"]
    flags += ["--speed", "plain", "--warmup_steps", "1"]
    asked = ["as_a_short_job", "head_at_targets_off", "dtype_float32", "batch_tokens_300"]
    flags += ["--ablations", ",".join(asked)]
    assert main([*flags, "--sections", "ablations"]) == 0
    measured = json.loads((tmp_path / "bench.json").read_text())["sections"]
    assert set(measured["ablations"]["sides"]) == {"ours", *(f"ours_{name}" for name in asked)}
    table = capsys.readouterr().out
    assert all(f"## {name}" in table for name in measured)


@needs_peft
def test_finished_rounds_are_written_on_ctrl_c(
    tiny_llama, tiny_facts, tmp_path, monkeypatch, capsys
):
    run, calls = Ours.run, []

    def stopped_in_the_third_round(self, facts):
        calls.extend([facts] if self.name == "ours" else [])
        if len(calls) == 1 + 3:
            raise KeyboardInterrupt
        return run(self, facts)

    monkeypatch.setattr(Ours, "run", stopped_in_the_third_round)
    flags = ["--output_dir", str(tmp_path), "--model", str(tiny_llama), "--rounds", "9"]
    flags += ["--speed", "plain"]
    flags += ["--data_dir", str(tiny_facts), "--facts_per_round", "4", "--batch_size", "4"]
    assert main([*flags, "--sections", "main,ablations"]) == 130
    assert "stopped; what was finished is written" in capsys.readouterr().err
    results = json.loads((tmp_path / "bench.json").read_text())
    assert results["sections"]["main"]["finished_rounds"] == 2
    assert results["peak_memory_mb"] == {} and set(results["sections"]) == {"main"}
    assert (tmp_path / "bench.md").is_file() and (tmp_path / "bench.png").is_file()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sections", "main,speed"], ["--sections 'main,speed'", "ablations"]),
        (
            ["--ablations", "packing_off,heads"],
            ["--ablations 'packing_off,heads'", "skip_lead_off"],
        ),
        (["--weight_bits", "8"], ["--weight_bits", "full weights"]),
        (["--rounds", "0", "--threads", "-1"], ["--rounds", "--threads", "got -1"]),
        (["--ranks", "1,two"], ["--ranks '1,two'"]),
        (["--texts", "/no/such/file.jsonl"], ["/no/such/file.jsonl"]),
        (["--nonsense"], ["--nonsense"]),
        (["--data_dir", "/no/such/place"], ["/no/such/place"]),
        (["--model", "/no/such/model"], ["/no/such/model"]),
        (["--template", "[X] is in [Y]"], ["no prompt slot"]),
    ],
)
def test_a_bad_request_is_one_line(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", _with_peft)
    assert main(["--output_dir", str(tmp_path / "out"), *flags]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert ": error: " in line
    assert all(word in line for word in words)


def test_a_masked_model_is_refused(tiny_bert, tiny_facts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", _with_peft)
    flags = ["--model", str(tiny_bert), "--data_dir", str(tiny_facts)]
    assert main([*flags, "--output_dir", str(tmp_path / "out")]) == 2
    assert "masked model" in capsys.readouterr().err


def test_a_used_directory_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", _with_peft)
    (tmp_path / "file").write_text("kept")
    assert main(["--output_dir", str(tmp_path)]) == 2
    assert f"--output_dir {tmp_path} is in use" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_peft_nothing_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", _without_peft)
    assert main(["--output_dir", str(tmp_path / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert ": error: " in line and "pip install peft" in line
    assert not (tmp_path / "out").exists()


_find_spec = importlib.util.find_spec


def _with_peft(name, *arguments):
    return True if name == "peft" else _find_spec(name, *arguments)


def _without_peft(name, *arguments):
    return None if name == "peft" else _find_spec(name, *arguments)
