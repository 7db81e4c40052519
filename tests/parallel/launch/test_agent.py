"""Jobs that started their own ranks: exit statuses, and nothing after a line that said why."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ptune_scale.parallel.launch.relaunch import AGENT

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = str(ROOT / "launchers" / "tune.py")


@pytest.fixture
def start(job_flags, tmp_path):
    """Start two ranks that train until they are stopped."""
    jobs = []

    def start_job() -> tuple[psutil.Popen, Path]:
        out = tmp_path / "out"
        command = [sys.executable, LAUNCHER, "--num_gpus", "2", "--output_dir", str(out)]
        command += [*job_flags, "--max_steps", "100000", "--checkpoint_every", "2"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        job = psutil.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        jobs.append(job)
        deadline = time.monotonic() + 200
        while not list(out.glob("checkpoint/step-*")):
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
    lines = [line for line in text.splitlines() if line.startswith("tune.py: ")]
    assert lines == [f"tune.py: stopped by SIGTERM; go on with --resume_from {out}"]
    assert "Traceback" not in text and "closing signal" not in text
    assert not psutil.wait_procs(ranks, timeout=30)[1]


def test_killed_rank_ends_the_job_with_its_status_and_torchrun_s_report(start):
    job, out = start()
    ranks = job.children()
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    text = job.communicate(timeout=60)[1]
    assert job.returncode == 128 + signal.SIGKILL
    assert "Signal 9 (SIGKILL)" in text and "Root Cause" in text
    assert f"go on with --resume_from {out}" in text
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
    agent = subprocess.run(
        [sys.executable, str(AGENT), "--standalone", "--nproc_per_node=2", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert agent.returncode == 128 + signal.SIGKILL
    assert "Signal 9 (SIGKILL)" in agent.stderr


def test_silent_rank_waits_until_it_is_ended():
    code = "from ptune_scale.parallel.launch import relaunch; print(1, flush=True); "
    code += "relaunch.wait_for_the_speaker(); print(2, flush=True)"
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
