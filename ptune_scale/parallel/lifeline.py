"""Ranks that end when their launcher is gone.

The ``deepspeed`` command does not pass SIGTERM on to what it started: killed alone, it would leave
the whole job running behind it. So every rank keeps an eye on the launchers above it.
"""

import os
import signal
import threading
import time

import psutil

_LAUNCHERS = ("deepspeed", "torchrun", "torch.distributed.run")
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 30.0


def hold() -> None:
    """Watch the launchers above this process from a thread.

    When one of them is gone, the process gets SIGTERM, and SIGKILL if it is still there after 30 s.
    """
    launchers = [
        parent
        for parent in psutil.Process().parents()
        if any(name in word for word in _command(parent) for name in _LAUNCHERS)
    ]
    if launchers:
        threading.Thread(target=_watch, args=(launchers,), daemon=True).start()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()[:4]
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
