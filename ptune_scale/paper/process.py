"""A job as a process of its own, whose errors are shown and kept, and which Ctrl-C reaches."""

import codecs
import contextlib
import errno
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType


class Launcher:
    """Runs one job after another, until it is told to stop.

    SIGINT and SIGTERM go on to the job, which saves what it has and ends.

    Attributes:
        stopped_by: number of the signal; 0 for none.
    """

    def __init__(self) -> None:
        self.stopped_by = 0
        self._process: subprocess.Popen | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take over the two signals."""
        before = {n: signal.signal(n, self._pass_on) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = self.stopped_by or number
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def run(self, command: Sequence[str], log: Path) -> int:
        """Run to the end; what the job says on stderr is shown and written to ``log``.

        Returns:
            the exit status; 128 + number where a signal ended it.
        """
        ours, theirs = _channel()
        # A character may be cut in two by the end of a chunk.
        text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with log.open("wb", buffering=0) as file:
            try:
                self._process = subprocess.Popen(command, stderr=theirs)
            finally:
                os.close(theirs)
            while chunk := _read(ours):
                sys.stderr.write(text.decode(chunk))
                sys.stderr.flush()
                file.write(chunk)
        os.close(ours)
        status = self._process.wait()
        return 128 - status if status < 0 else status


def said(log: Path) -> str:
    """Why a job failed: its line of error, or the last that it wrote."""
    text = log.read_text(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.partition(".py: error: ")[2] for line in lines if ".py: error: " in line]
    return (errors or lines or ["it said nothing"])[-1]


def _channel() -> tuple[int, int]:
    """Two ends for the job's stderr: a terminal where ours is one, so that its bars are shown."""
    if not sys.stderr.isatty():
        return os.pipe()
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, termios.tcgetwinsize(sys.stderr.fileno()))
    return ours, theirs


def _read(end: int) -> bytes:
    try:
        return os.read(end, 4096)
    except OSError as error:
        if error.errno == errno.EIO:  # how a terminal says that its other end is closed
            return b""
        raise
