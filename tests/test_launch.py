"""Bad requests to the real launcher: one clear line, a non-zero exit, nothing written over."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ROOT / "launchers" / "lama.py"
CONFIG = str(ROOT / "ds_configs" / "zero3.json")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def run(*flags: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, str(LAUNCHER), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def write_facts(directory: Path, line: str) -> Path:
    (directory / "test").mkdir(parents=True)
    (directory / "train").mkdir()
    (directory / "relations.jsonl").write_text('{"relation": "P1", "template": "[X] is [Y] ."}\n')
    for part in ("train", "test"):
        (directory / part / "P1.jsonl").write_text('{"sub_label": "a", "obj_label": "b"}\n' + line)
    return directory


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--relations", "nonsense"], ["unknown relation", "nonsense"]),
        (["--data_dir", "/no/such/place"], ["/no/such/place", "does not exist"]),
        (["--learning_rate", "1"], ["unrecognized", "--learning_rate"]),
        (["--batch_size", "many"], ["--batch_size", "many"]),
        (["--lr", "0"], ["--lr must be"]),
        (["--template", "[P] [Z] [X] [Y]"], ["unknown placeholder"]),
        (["--model", "./nowhere"], ["nowhere", "no such file"]),
        (["--resume_from", "/no/such/run"], ["no checkpoint"]),
        (["--method", "magic"], ["--method", "choose from"]),
        (["--output_dir", "/proc/out"], ["--output_dir /proc/out", "No such file"]),
        (["--tensor_parallel", "2"], ["--tensor_parallel 2", "needs 2 ranks", "--num_gpus 2"]),
        (
            ["--num_gpus", "2", "--tensor_parallel", "2", "--zero_stage", "3"],
            ["--zero_stage 3", "2 x 1 = 2 leaves one data-parallel rank"],
        ),
        (
            ["--num_gpus", "2", "--zero_stage", "0", "--deepspeed_config", CONFIG],
            [f"--deepspeed_config {CONFIG}", "layout dp2", "only ZeRO-3"],
        ),
    ],
)
def test_bad_request_is_one_clear_line(flags, words):
    done = run(*flags)
    assert done.returncode == 2
    [line] = [text for text in done.stderr.splitlines() if "lama.py: error:" in text]
    assert all(word in line for word in words)
    assert "usage:" not in done.stderr and "Traceback" not in done.stderr


def test_bad_record_names_file_and_line(tmp_path):
    data = write_facts(tmp_path / "facts", "{broken\n")
    done = run("--data_dir", str(data))
    assert done.returncode == 2
    assert "P1.jsonl:2: bad record: not JSON" in done.stderr


def test_output_directory_in_use_is_left_alone(tmp_path):
    (tmp_path / "results.json").write_text("precious")
    done = run("--output_dir", str(tmp_path))
    assert done.returncode == 2
    assert "is in use" in done.stderr
    assert (tmp_path / "results.json").read_text() == "precious"


def test_directory_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = run("--model", str(tmp_path))
    assert done.returncode == 2
    assert "no weights" in done.stderr


def test_truncated_gguf_is_refused(tmp_path):
    from ptune_scale.backbone import find_model

    whole = find_model("smollm2-135m").path.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    done = run("--model", str(tmp_path / "cut.gguf"))
    assert done.returncode == 2
    assert "truncated" in done.stderr


def test_more_ranks_than_torchrun_started_is_refused():
    done = run("--num_gpus", "3", launcher=TORCHRUN)
    assert done.returncode != 0
    assert done.stderr.count("--num_gpus 3 but torchrun started 2 ranks") == 1


def test_what_only_a_silent_rank_finds_wrong_is_said_by_it(monkeypatch):
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    done = run("--relations", "nonsense")
    assert done.returncode == 2
    assert done.stderr.count("lama.py: error:") == 1


def test_one_process_goes_on_with_the_flags_of_zero3(tmp_path):
    from ptune_scale.check import check
    from ptune_scale.config import LamaConfig

    flags = {"zero_stage": 3, "deepspeed_config": CONFIG, "output_dir": str(tmp_path / "a" / "b")}
    assert check(LamaConfig.from_flags(flags)).relations
    assert not list(tmp_path.iterdir())


def test_resuming_never_writes_into_a_directory_above_the_run(tmp_path):
    step = tmp_path / "run" / "checkpoint" / "step-000001"
    step.mkdir(parents=True)
    meta = {"format": 2, "step": 1, "identity": {}, "flags": {}, "sha256": {}}
    (step / "meta.json").write_text(json.dumps(meta))
    done = run("--resume_from", str(tmp_path / "run"), "--output_dir", str(tmp_path))
    assert done.returncode == 2
    assert "is in use" in done.stderr
