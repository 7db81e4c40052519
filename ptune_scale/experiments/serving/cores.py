"""Which of the processor's cores a process may run on."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ptune_scale.errors import UserError


@dataclass(frozen=True)
class Cores:
    """Cores that processes are bound to; none: they run wherever this one may.

    Attributes:
        models: of the server and of local jobs.
        clients: of clients of the server.
    """

    models: frozenset[int] = frozenset()
    clients: frozenset[int] = frozenset()

    @classmethod
    def apart(cls) -> "Cores":
        """The first core for models, the others for clients.

        Raises:
            UserError: there is one core only, or this system binds no processes.
        """
        if not hasattr(os, "sched_setaffinity"):
            raise UserError("--cores apart: this system does not bind processes to cores")
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise UserError("--cores apart needs two cores; this process may use one")
        return cls(frozenset(cores[:1]), frozenset(cores[1:]))


@contextlib.contextmanager
def bound(cores: frozenset[int]) -> Iterator[None]:
    """Let this thread, and processes that it starts, run on these cores only."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
