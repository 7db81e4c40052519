"""From its first moment on a command ends in one line, and a rank with its launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ptune_scale.parallel.launch.relaunch import OF_AGENT, Ending, agent_command

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

_WAITS = """
from ptune_scale.parallel.launch.guard import guarded
with guarded("tune"):
    print("here", flush=True)
    {how}
"""
_WAITING = "import time; time.sleep(600)"
_IMPORTING = "import torch, transformers; " + _WAITING


def start(how: str, *launcher: str, **environment: str) -> subprocess.Popen[str]:
    command = [*(launcher or [sys.executable]), "-c", _WAITS.format(how=how)]
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


@pytest.mark.parametrize(
    ("how", "number"),
    [(_WAITING, signal.SIGTERM), (_WAITING, signal.SIGINT), (_IMPORTING, signal.SIGINT)],
)
def test_a_signal_before_anything_has_begun_is_one_line(how, number):
    process = start(how)
    assert process.stdout.readline() == "here\n"
    time.sleep(0.5)
    process.send_signal(number)
    text = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    name = signal.Signals(number).name
    assert text == f"ptune tune: stopped by {name}; nothing was begun yet, call it again\n"


@pytest.mark.parametrize("how", [_WAITING, _IMPORTING], ids=["waiting", "importing"])
def test_ranks_of_a_killed_agent_are_gone_before_they_have_begun(how):
    agent = start(how, *agent_command(2, Ending("ptune tune", "", "")))
    assert [agent.stdout.readline() for _ in range(2)] == ["here\n"] * 2
    ranks = psutil.Process(agent.pid).children()
    assert len(ranks) == 2
    agent.kill()
    assert not psutil.wait_procs(ranks, timeout=60)[1]
    text = agent.communicate(timeout=60)[1]
    assert text == "ptune tune: error: its launcher is gone; nothing was begun yet, call it again\n"


def test_a_rank_that_starts_when_its_agent_is_gone_ends_at_once():
    process = start(_WAITING, **{OF_AGENT: "1", "LOCAL_RANK": "0"})
    text = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert text.count("its launcher is gone") == 1


def test_a_command_without_ranks_says_that_it_was_interrupted_while_it_imports():
    code = "from ptune_scale.run.alone import run_alone; import sys; "
    code += "sys.exit(run_alone('plan', lambda: print('here', flush=True) or __import__('torch')))"
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        text = process.communicate(timeout=60)[1]
        assert process.returncode == 128 + number
        assert text == f"ptune plan: stopped by {signal.Signals(number).name}\n"
