"""A process that ends with one line and a status, whatever comes, from its first moment on.

Libraries take seconds to load, and a rank may wait long for another before there is a job that
listens to signals. Python runs handlers only between two of its own instructions, so neither can be
interrupted by one; and an interrupt within an import shows as whatever that library makes of it.
So a thread reads the numbers of signals from a pipe, and looks whether the launchers still live.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from ptune_scale.parallel.launch.lifeline import Lifeline
from ptune_scale.parallel.launch.speaker import say
from ptune_scale.parser import called

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 30.0

_current: "_Guard | None" = None


@contextlib.contextmanager
def guarded(name: str) -> Iterator[None]:
    """Let SIGINT, SIGTERM and the loss of a launcher end this process in one line.

    From ``hand_over`` on signals are the caller's. A launcher that is lost then is shown to it as a
    SIGTERM, and ends the process 30 s later. Within another ``guarded``, and in a thread, it does
    nothing.

    Args:
        name: of the command.
    """
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _current = guard = _Guard(name)
    try:
        yield
    finally:
        guard.end()
        _current = None


def hand_over() -> None:
    """From here on handlers of the caller, which are in place, look after signals."""
    if _current is not None:
        _current.hand_over()


class _Guard:
    def __init__(self, name: str) -> None:
        self.name = name
        self.is_early = True
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.handlers: dict[int, Any] = {n: signal.signal(n, _leave_it) for n in _SIGNALS}
        self.wakeup = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        # Our agent holds them back until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self.lifeline = Lifeline()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def hand_over(self) -> None:
        if self.is_early:
            self.is_early = False
            signal.set_wakeup_fd(self.wakeup)

    def end(self) -> None:
        self.hand_over()
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        os.close(self.writer)  # the thread sees it, and ends

    def _watch(self) -> None:
        while True:
            if select.select([self.reader], [], [], _POLL_SECONDS)[0]:
                read = os.read(self.reader, 1)
                if not read:
                    break
                if self.is_early and read[0] in _SIGNALS:
                    self._leave(128 + read[0], f"stopped by {signal.Signals(read[0]).name}")
            if self.lifeline and self.lifeline.is_cut:
                if self.is_early:
                    self._leave(128 + signal.SIGTERM, "error: its launcher is gone")
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(_GRACE_SECONDS)
                os.kill(os.getpid(), signal.SIGKILL)
        os.close(self.reader)

    def _leave(self, status: int, what: str) -> NoReturn:
        say(f"{called(self.name)}: {what}; nothing was begun yet, call it again")
        os._exit(status)


def _leave_it(number: int, frame: FrameType | None) -> None:
    """The thread acts; the system only writes into the pipe where there is a handler."""
