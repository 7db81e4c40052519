"""Ranks that end when their launcher is gone.

The ``deepspeed`` command does not pass SIGTERM on to what it started: killed alone, it would leave
the whole job running behind it. So every rank keeps an eye on the launchers above it.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from ptune_scale.parallel.launch.relaunch import AGENT

_COMMANDS = ("deepspeed", "torchrun")
_MODULES = (
    "deepspeed.launcher.launch",
    "deepspeed.launcher.runner",
    "torch.distributed.launch",
    "torch.distributed.run",
)
_PYTHON = re.compile(r"python[\d.]*")
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 30.0


def hold() -> None:
    """Watch the launchers above this process from a thread.

    When one of them is gone, the process gets SIGTERM, and SIGKILL if it is still there after 30 s.
    """
    launchers = [parent for parent in psutil.Process().parents() if is_launcher(_command(parent))]
    if launchers:
        threading.Thread(target=_watch, args=(launchers,), daemon=True).start()


def is_launcher(command: Sequence[str]) -> bool:
    """Whether a command line is that of a launcher, and not of something that only names one."""
    words = list(command)
    if words and _PYTHON.fullmatch(Path(words[0]).name):
        del words[0]
        while words and words[0].startswith("-"):
            option = words.pop(0)
            if option == "-c":
                return False
            if option == "-m":
                return bool(words) and words[0] in _MODULES
            if option in ("-W", "-X"):
                del words[:1]
    return bool(words) and (Path(words[0]).name in _COMMANDS or words[0] == str(AGENT))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _watch(launchers: list[psutil.Process]) -> None:
    while all(_lives(process) for process in launchers):
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
