"""``export`` writes all tasks of a prompt that a format can hold, or says in one line why not."""

import json
import sys
from pathlib import Path

import pytest
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.run import export
from ptune_scale.task.answers.words import Words
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Wording
from ptune_scale.use.export import ExportedTask, PromptExport

CITIES = Words({"north": ("Oslo",), "south": ("Rome",)})
PATTERNS = {"front": "[P]*2 {a} is [Y]", "behind": "{a} is [P]*2 [Y]"}


@pytest.fixture
def prompt(tiny_llama: Path, tmp_path: Path) -> Path:
    backbone = load_backbone(str(tiny_llama))
    tasks = tuple(
        ExportedTask(name, name, Wording(Pattern.parse(pattern), CITIES))
        for name, pattern in PATTERNS.items()
    )
    vectors = torch.randn(2, 2, backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    return (
        PromptExport(vectors, tasks, str(tiny_llama), backbone.fingerprint)
        .save(tmp_path / "prompt")
        .parent
    )


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    rows = [{"task": name, "a": place} for name in PATTERNS for place in ("Norway", "Spain")]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["tokens", "model", "vllm", "npy"])
def test_several_tasks_are_in_one_export(name, prompt, records, tmp_path, capsys) -> None:
    if name == "tokens":
        pytest.importorskip("peft")
    given = ["--prompt", str(prompt), "--to", name, "--output_dir", str(tmp_path / "out")]
    given += ["--input", str(records), "--check", str(records)]
    assert export.main(given) == 0
    assert "4 of 4 answers are the same" in capsys.readouterr().out


def test_a_format_of_one_task_gets_a_folder_for_each(prompt, tmp_path) -> None:
    pytest.importorskip("peft")
    loaded = PromptExport.load(prompt)
    tasks = tuple(ExportedTask(n, n, loaded.tasks[0].wording) for n in ("one", "a/b"))
    both = PromptExport(loaded.prompts, tasks, loaded.model, loaded.fingerprint)
    both.save(tmp_path / "both")
    out = tmp_path / "out"
    given = ["--prompt", str(tmp_path / "both"), "--to", "peft", "--output_dir", str(out)]
    assert export.main(given) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a_b_1", "one"]
    assert all((path / "adapter_config.json").is_file() for path in out.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--to onnx", "invalid choice: 'onnx'"),
        ("--to peft", "task behind has slots behind {a}"),
        ("--to npy --output_dir PROMPT", "is there already; choose a new directory"),
        ("--to npy --output_dir RECORDS", "is there already; choose a new directory"),
        ("--to npy --model OTHER", "trained with another model than"),
        ("--to npy --model none", "none"),
        ("--to npy --task left", "no task 'left'; it has front, behind"),
        ("--to vllm", "give records by --input"),
        ("--to vllm --input none.jsonl", "none.jsonl cannot be read"),
        ("--to npy --check none.jsonl", "none.jsonl cannot be read"),
        ("--to npy --prompt none", "prompt none is not there"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_nothing_is_written(
    given, message, prompt, records, tiny_gpt2, tmp_path, capsys
) -> None:
    places = {"PROMPT": prompt, "RECORDS": records, "OTHER": tiny_gpt2}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    typed = ["--prompt", str(prompt), "--output_dir", str(tmp_path / "out")]
    typed += [str(places.get(word, word)) for word in given.split()]
    assert export.main(typed) == 2
    [line] = [each for each in capsys.readouterr().err.splitlines() if "error:" in each]
    assert message in line
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_missing_library_is_named_with_its_command(prompt, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    given = ["--prompt", str(prompt), "--to", "tokens", "--output_dir", str(tmp_path / "out")]
    assert export.main(given) == 2
    assert "--to tokens needs peft: pip install peft" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
