"""Jobs that started their own ranks: their exit statuses, and somebody always says why."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ptune_scale.parallel.launch import agent as agent_script
from ptune_scale.parallel.launch.relaunch import Ending, agent_command

ROOT = Path(__file__).resolve().parents[3]
JOB = str(ROOT / "tests" / "run" / "small_job.py")


@pytest.fixture
def start(tmp_path):
    """Start two ranks that go on until they are stopped."""
    jobs = []

    def start_job() -> tuple[psutil.Popen, Path]:
        out = tmp_path / "out"
        command = [sys.executable, JOB, "--num_gpus", "2", "--output_dir", str(out)]
        command += ["--end", "never"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        job = psutil.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        jobs.append(job)
        deadline = time.monotonic() + 200
        while not (out / "run.json").is_file():
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        return job, out

    yield start_job
    for job in jobs:
        if job.poll() is None:
            for process in [*job.children(recursive=True), job]:
                process.kill()
        job.communicate()


def test_stop_is_one_line_and_the_status_of_the_signal(start):
    job, out = start()
    ranks = job.children()
    job.send_signal(signal.SIGTERM)
    text = job.communicate(timeout=60)[1]
    assert job.returncode == 128 + signal.SIGTERM
    lines = [line for line in text.splitlines() if line.startswith("small_job.py: ")]
    assert lines == [f"small_job.py: stopped by SIGTERM; go on with --resume_from {out}"]
    assert "Traceback" not in text and "closing signal" not in text
    assert not psutil.wait_procs(ranks, timeout=30)[1]


@pytest.mark.parametrize("killed", [0, 1])
def test_killed_rank_ends_the_job_with_its_status_and_another_says_how_to_go_on(start, killed):
    job, out = start()
    ranks = sorted(job.children(), key=lambda rank: rank.environ()["RANK"])
    assert len(ranks) == 2
    ranks[killed].send_signal(signal.SIGKILL)
    text = job.communicate(timeout=60)[1]
    assert job.returncode == 128 + signal.SIGKILL
    lines = [line for line in text.splitlines() if line.startswith("small_job.py: ")]
    assert [line.endswith(f"go on with --resume_from {out}") for line in lines] == [True, False]
    assert "lost contact with another rank" in lines[0]
    assert f"rank {killed} was killed by SIGKILL" in lines[1]
    assert "Traceback" not in text
    assert not psutil.wait_procs(ranks, timeout=30)[1]


def test_killed_rank_gives_the_status_where_another_failed_for_it_in_the_same_moment(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, signal, sys, time, psutil
pid = {str(tmp_path / "pid")!r}
if os.environ["RANK"] == "1":
    open(pid + ".new", "w").write(str(os.getpid()))
    os.rename(pid + ".new", pid)
    os.kill(os.getpid(), signal.SIGKILL)
while not os.path.exists(pid):
    time.sleep(0.001)
peer = int(open(pid).read())
while psutil.pid_exists(peer) and psutil.Process(peer).status() != psutil.STATUS_ZOMBIE:
    time.sleep(0.001)
sys.exit(1)
"""
    )
    agent = run_agent(str(script))
    assert agent.returncode == 128 + signal.SIGKILL
    [line] = agent.stderr.splitlines()
    assert line.startswith("tune.py: error: rank 1 was killed by SIGKILL")
    assert line.endswith("; nothing was saved yet")


def run_agent(*command: str, ranks: int = 2, output: str = "") -> subprocess.CompletedProcess[str]:
    ending = Ending("tune.py", output, "nothing was saved yet")
    return subprocess.run(
        [*agent_command(ranks, ending), *command], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        ("pass", 0, None),
        ("sys.exit(5 if rank else 0)", 5, "error: rank 1 ended with status 5"),
        ("os.kill(os.getpid(), 9 if not rank else 0)", 137, "error: rank 0 was killed by SIGKILL"),
        # Of two that end in the same moment, either may be seen first.
        ("os.kill(os.getpid(), 9)", 137, "error: rank [01] was killed by SIGKILL"),
        ("os.kill(os.getppid(), 15); time.sleep(60)", 143, "stopped by SIGTERM"),
        (
            "os.unlink(os.environ['PTUNE_SCALE_UNSAID']) if rank else time.sleep(60); sys.exit(2)",
            2,
            None,
        ),
    ],
)
def test_whatever_becomes_of_ranks_somebody_says_it(tmp_path, code, status, line):
    (tmp_path / "run.json").touch()
    script = f"import os, sys, time; rank = int(os.environ['RANK']); {code}"
    agent = run_agent("-c", script, output=str(tmp_path))
    assert agent.returncode == status
    lines = [text for text in agent.stderr.splitlines() if text.startswith("tune.py: ")]
    assert len(lines) == (line is not None)
    if line is not None:
        assert re.match(f"tune.py: {line}", lines[0])
        assert lines[0].endswith(f"; go on with --resume_from {tmp_path}")


def test_rank_that_does_not_end_in_time_is_killed(monkeypatch):
    monkeypatch.setattr(agent_script, "_GRACE_SECONDS", 0.2)
    before = signal.getsignal(signal.SIGALRM)
    ignores = "signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    code = f"import os, signal, sys, time; rank = int(os.environ['RANK'])\nif rank: {ignores}"
    agent = agent_script.Agent(2, [sys.executable, "-c", f"{code}\ntime.sleep(2); sys.exit(3)"], "")
    try:
        assert agent.run() == [3, -signal.SIGKILL] and agent.late == {1}
    finally:
        signal.signal(signal.SIGALRM, before)


def test_silent_rank_waits_until_it_is_ended():
    code = "from ptune_scale.parallel.launch import speaker; print(1, flush=True); "
    code += "speaker.wait_for_the_speaker(); print(2, flush=True)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    rank = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert rank.stdout.readline() == "1\n"
    time.sleep(1)
    assert rank.poll() is None
    rank.terminate()
    assert rank.communicate(timeout=5)[0] == ""
    assert rank.returncode == -signal.SIGTERM
