"""Ranks and jobs that are forked from a process which has loaded the libraries already.

To start Python and load PyTorch, transformers and DeepSpeed takes a core six seconds, longer than
most tests let a rank work. So one process loads them for all tests of a session. What launchers
start, and that commands load what they need, is tested in tests/parallel/launch and tests/run.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from ptune_scale.parallel.launch.store import LISTENER

ROOT = Path(__file__).resolve().parents[1]

# CUDA does not survive a fork.
_CONTEXT = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "forkserver")
_CONTEXT.set_forkserver_preload(["tests.loaded"])

_PATIENCE_SECONDS = 900
"""Other processes may have the machine to themselves meanwhile."""


@dataclass(frozen=True)
class Forked:
    """A process that runs, or ran.

    Attributes:
        log: what it prints.
    """

    process: BaseProcess
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = _PATIENCE_SECONDS) -> int:
        """The exit status, -N for signal N."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running after {seconds} s: {self.said}"
        return self.process.exitcode

    def end(self) -> None:
        """Kill it, if it still runs."""
        self.process.kill()
        self.process.join()


def fork(
    log: Path,
    action: Callable[..., int | None],
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    listener: socket.socket | None = None,
) -> Forked:
    """Call a function of a module in a process of its own; it may return an exit status.

    Args:
        log: the file for what it prints.
        listener: is handed to it, as the agent does to a first rank.
    """
    if _CONTEXT.get_start_method() == "forkserver":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            forkserver.ensure_running()
    process = _CONTEXT.Process(
        target=_run,
        args=(log, dict(environment or {}), listener, action, arguments),
        daemon=True,  # what a test leaves behind ends with the session
    )
    process.start()
    return Forked(process, log)


def fork_ranks(
    count: int, directory: Path, action: Callable[..., int | None], *arguments: object
) -> list[Forked]:
    """Call a function on ranks of one job on this machine.

    Args:
        directory: for files of what they print.
    """
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    with socket.create_server(("127.0.0.1", 0), backlog=count) as listener:
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
        return [
            fork(
                directory / f"rank{rank}.log",
                action,
                *arguments,
                environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                listener=None if rank else listener,
            )
            for rank in range(count)
        ]


def run_ranks(
    count: int, directory: Path, action: Callable[..., int | None], *arguments: object
) -> str:
    """Let ranks come to a good end; returns what they printed. See ``fork_ranks``."""
    ranks = fork_ranks(count, directory, action, *arguments)
    try:
        waiting = {rank.process.sentinel: rank for rank in ranks}
        while waiting:
            ended = connection.wait(list(waiting), timeout=_PATIENCE_SECONDS)
            assert ended, "ranks do not end"
            for rank in map(waiting.pop, ended):
                assert rank.wait() == 0, rank.said[-4000:]
    finally:
        for rank in ranks:
            rank.end()
    return "".join(rank.said for rank in ranks)


def _run(
    log: Path,
    environment: Mapping[str, str],
    listener: socket.socket | None,
    action: Callable[..., int | None],
    arguments: Sequence[object],
) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    if listener is not None:
        os.environ[LISTENER] = str(listener.detach())
    sys.exit(action(*arguments))
