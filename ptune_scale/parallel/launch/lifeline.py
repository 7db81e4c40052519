"""Ranks that end when their launcher is gone.

The ``deepspeed`` command does not pass SIGTERM on to what it started: killed alone, it would leave
the whole job running behind it, and so would any launcher that is killed by SIGKILL. So every rank
keeps an eye on the launchers above it.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ptune_scale.parallel.launch.relaunch import AGENT, OF_AGENT

if TYPE_CHECKING:
    import psutil

_COMMANDS = ("deepspeed", "torchrun")
_MODULES = (
    "deepspeed.launcher.launch",
    "deepspeed.launcher.runner",
    "torch.distributed.launch",
    "torch.distributed.run",
)
_PYTHON = re.compile(r"python[\d.]*")
# What those who start ranks tell them, but nobody who runs a single process does.
_OF_LAUNCHERS = (OF_AGENT, "TORCHELASTIC_RUN_ID", "CROSS_RANK")


class Lifeline:
    """The launchers above this process, as they are now; nothing where none started it."""

    def __init__(self) -> None:
        self._agent = int(os.environ.get(OF_AGENT, 0))
        self._launchers: list[psutil.Process] = []
        self._lost = False
        if any(name in os.environ for name in (*_OF_LAUNCHERS, "LOCAL_RANK")):
            self._look()

    def _look(self) -> None:
        import psutil  # what runs alone need not wait for it

        above = psutil.Process().parents()
        self._launchers = [parent for parent in above if is_launcher(_command(parent))]
        if not self._launchers and os.getppid() == 1:
            # It died before it could be seen, or is something else that runs in a container: some
            # program of Python that calls torchrun's functions.
            words = _command(psutil.Process(1))
            is_python = bool(words) and bool(_PYTHON.fullmatch(Path(words[0]).name))
            self._lost = not is_python and any(name in os.environ for name in _OF_LAUNCHERS)

    def __bool__(self) -> bool:
        """Whether there is anything to watch."""
        return bool(self._agent or self._launchers or self._lost)

    @property
    def is_cut(self) -> bool:
        """Whether one of them is gone."""
        # An agent starts its ranks itself, so that another parent is none.
        lost = self._lost or (self._agent and os.getppid() != self._agent)
        return bool(lost) or not all(map(_lives, self._launchers))


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


def _command(process: "psutil.Process") -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _lives(process: "psutil.Process") -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
