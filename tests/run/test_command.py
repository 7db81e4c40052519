"""A job as it is started: claimed, told, on the ranks asked for, and every end one line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forked import fork
from tests.run import small_job

ROOT = Path(__file__).resolve().parents[2]
JOB = small_job.__file__
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def run(*flags: str, launcher: tuple[str, ...] = (), cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *launcher, JOB, *flags],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def line_of(said: str, name: str = "small_job.py") -> str:
    """The one line that the job itself said; none of it twice, and no traceback."""
    assert "Traceback" not in said and "FAILED" not in said, said[-3000:]
    [line] = [text for text in said.splitlines() if text.startswith(f"{name}: ")]
    return line.removeprefix(f"{name}: ")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run the job as one process; returns its exit status and what it said."""
    monkeypatch.chdir(tmp_path)

    def job(*flags: str) -> tuple[int, str]:
        process = fork(tmp_path / "log", small_job.main, flags)
        return process.wait(), process.said

    return job


def told(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text())


@pytest.mark.parametrize(
    ("flags", "launcher", "layout"),
    [
        ([], (), "single"),
        ([], TORCHRUN, "dp2"),
        (["--num_gpus", "2", "--tensor_parallel", "-1"], (), "tp2"),
    ],
)
def test_a_job_runs_in_the_layout_asked_for_and_is_told_its_flags(
    tmp_path, flags, launcher, layout
):
    done = run(*flags, "--output_dir", "out", launcher=launcher, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    ranks = 1 if layout == "single" else 2
    assert results["ranks"] == [[rank, layout] for rank in range(ranks)]
    assert results["seen"] == [".lock", "run.json"]
    saved = told(tmp_path / "out")
    assert saved["command"] == "small_job" and saved["flags"]["end"] == "well"
    assert not {"output_dir", "resume_from"} & saved["flags"].keys()


def test_results_go_into_runs_where_no_directory_is_named(tmp_path, alone):
    assert alone()[0] == 0
    [made] = (tmp_path / "runs").iterdir()
    assert (made / "results.json").is_file()


def test_a_run_goes_on_with_its_flags_though_it_has_no_checkpoint_yet(tmp_path, alone):
    out = tmp_path / "out"
    status, said = alone("--end", "stopped", "--output_dir", "out")
    assert status == 128 + 15
    line = line_of(said, "ptune small_job")
    assert line == "stopped by SIGTERM; go on with --resume_from out"
    assert alone("--resume_from", "out", "--end", "well")[0] == 0
    assert (out / "results.json").is_file() and told(out)["flags"]["end"] == "well"


def test_what_the_check_refuses_leaves_nothing_behind(tmp_path):
    done = run("--checked", "bad", "--num_gpus", "2", "--output_dir", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert line_of(done.stderr) == "error: --checked bad: choose another"
    assert not list(tmp_path.iterdir())


def test_what_the_job_refuses_is_not_what_the_run_was_told(tmp_path, alone):
    done = run("--end", "refused", "--num_gpus", "2", "--output_dir", "out", cwd=tmp_path)
    assert done.returncode == 2 and line_of(done.stderr) == "error: not like that"
    assert [path.name for path in (tmp_path / "out").iterdir()] in ([".lock"], [])
    assert alone("--output_dir", "out")[0] == 0
    assert alone("--resume_from", "out", "--end", "refused")[0] == 2
    assert told(tmp_path / "out")["flags"]["end"] == "well"


def test_a_bug_is_loud(tmp_path):
    done = run("--end", "crash", "--output_dir", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "ValueError: a bug" in done.stderr


def test_a_wrong_flag_on_a_rank_is_said_once(tmp_path):
    done = run("--no_such", "1", launcher=TORCHRUN, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("small_job.py: error: unknown --no_such") == 1


def test_a_command_called_from_python_starts_its_ranks_with_its_own_arguments(tmp_path, tiny_gpt2):
    lines = [{"text": text, "label": text[0]} for text in ("Oslo is", "Paris is", "Rome is") * 4]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    flags = ["--train", "rows.jsonl", "--pattern", "{text} [P] [Y]", "--answer", "label"]
    flags += ["--model", str(tiny_gpt2), "--max_steps", "2", "--num_gpus", "2"]
    script = f"from ptune_scale.tune.launcher import main; main({[*flags, '--output_dir', 'out']})"
    done = subprocess.run(
        [sys.executable, "-c", script, "--max_steps", "none"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["world_size"] == 2
