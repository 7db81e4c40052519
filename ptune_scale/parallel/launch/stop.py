"""Signals that end a job at a safe point, on all ranks at the same one."""

import os
import signal
import time
from types import FrameType

from ptune_scale.parallel.launch import guard
from ptune_scale.parallel.world import World

_IMPATIENT_AFTER_SECONDS = 2.0


class Stopped(Exception):
    """The job was asked to stop and all ranks agreed to.

    Attributes:
        exit_status: 128 + the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class StopSignal:
    """Notes SIGINT and SIGTERM and lets all ranks act on them together.

    A terminal sends Ctrl-C to every process of the job and the launchers add SIGTERM, so one
    request arrives several times. A second Ctrl-C, at least two seconds later, ends the process
    at once.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._number = 0
        self._since = 0.0

    def listen(self) -> None:
        """Take over SIGINT and SIGTERM from here on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        guard.hand_over()

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._number == 0:
            self._number, self._since = number, now
        elif number == signal.SIGINT and now - self._since > _IMPATIENT_AFTER_SECONDS:
            os._exit(128 + number)

    def check(self) -> None:
        """Call on all ranks at the same points.

        Raises:
            Stopped: on every rank, if any of them was told to stop.
        """
        if number := self.heard():
            raise Stopped(number)

    def heard(self) -> int:
        """The number of a signal that any rank got, 0 for none; call it as ``check``."""
        return self.world.max(self._number)
