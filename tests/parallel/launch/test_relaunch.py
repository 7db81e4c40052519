"""Bad requests to a real launcher are one clear line, and what ranks are started with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.parallel.launch import speaker
from ptune_scale.parallel.launch.relaunch import check_ranks, without_local_rank
from ptune_scale.tune.launcher import main
from tests.forked import fork

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = ROOT / "launchers" / "tune.py"
CONFIG = str(ROOT / "ds_configs" / "zero3.json")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def run(*flags: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, str(LAUNCHER), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("ranks", "flags", "words"),
    [
        (1, ["--model", "./nowhere"], ["nowhere", "no such file"]),
        (1, ["--tensor_parallel", "2"], ["--tensor_parallel 2", "needs 2 ranks", "--num_gpus 2"]),
        (
            2,
            ["--num_gpus", "2", "--zero_stage", "0", "--deepspeed_config", CONFIG],
            [f"--deepspeed_config {CONFIG}", "layout dp2", "only ZeRO-3"],
        ),
    ],
)
def test_a_request_that_no_ranks_can_serve_is_one_clear_line(
    ranks, flags, words, job_flags, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("WORLD_SIZE", str(ranks))  # as a launcher that has started them
    assert main([*job_flags, "--output_dir", str(tmp_path / "out"), *flags]) == 2
    said = capsys.readouterr().err
    [line] = [text for text in said.splitlines() if "ptune tune: error:" in text]
    assert all(word in line for word in words)
    assert "usage:" not in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_what_all_ranks_find_wrong_is_one_clear_line(job_flags, tmp_path):
    flags = ["--num_gpus", "2", "--tensor_parallel", "2", "--zero_stage", "3"]
    done = run(*job_flags, "--output_dir", str(tmp_path / "out"), *flags)
    assert done.returncode == 2
    [line] = [text for text in done.stderr.splitlines() if "tune.py: error:" in text]
    assert "--zero_stage 3" in line and "2 x 1 = 2 leaves one data-parallel rank" in line
    assert "usage:" not in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_other_ranks_than_torchrun_started_are_refused(job_flags):
    done = run(*job_flags, "--num_gpus", "3", launcher=TORCHRUN)
    assert done.returncode != 0
    assert done.stderr.count("--num_gpus 3 but torchrun started 2 ranks") == 1


def tune_with_little_patience(flags: list[str]) -> int:
    speaker._FOR_THE_SPEAKER_SECONDS = 0.1
    return main(flags)


def test_what_only_a_silent_rank_finds_wrong_is_said_by_it(tmp_path):
    flags = ["--train", "/no/such/file.jsonl", "--pattern", "{a} [P] [Y]", "--answer", "b"]
    second = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    rank = fork(tmp_path / "log", tune_with_little_patience, flags, environment=second)
    assert rank.wait() == 2
    assert rank.said.count("ptune tune: error:") == 1


def test_one_process_goes_on_with_the_flags_of_zero3(job_flags, tmp_path):
    out = tmp_path / "out"
    flags = ["--zero_stage", "3", "--deepspeed_config", CONFIG, "--max_steps", "1"]
    job = fork(tmp_path / "log", main, [*job_flags, *flags, "--output_dir", str(out)])
    assert job.wait() == 0, job.said[-3000:]
    assert (out / "results.json").is_file()


@pytest.mark.parametrize(
    "words", [["--local_rank=1"], ["--local_rank", "1"], ["--local-rank=1"], ["--local-rank", "1"]]
)
def test_what_tells_a_launcher_s_ranks_apart_is_not_passed_on(words):
    kept = ["tune", "--lr", "1e-2", "--task", "--local_ranking", "1"]
    for place in range(1, len(kept) + 1):
        if kept[place - 1] not in ("--lr", "--task", "--local_ranking"):
            assert without_local_rank([*kept[:place], *words, *kept[place:]]) == kept
    assert without_local_rank(kept) == kept


def test_more_ranks_than_memory_can_hold_are_refused_at_once():
    check_ranks(0)
    check_ranks(1)
    for ranks in (100_000, 10**9):
        with pytest.raises(UserError, match=f"--num_gpus {ranks}: a rank takes .* at most"):
            check_ranks(ranks)
