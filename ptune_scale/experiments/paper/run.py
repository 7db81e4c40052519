"""One job after another; the finished are not run again, and one that fails stops no other.

Under the output directory, ``jobs/NAME/`` is a job's own, ``jobs/NAME.log`` has what it said, and
``jobs/NAME.json`` is there once it is finished.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

from ptune_scale.experiments.paper.jobs import PaperJob
from ptune_scale.files import cannot_write, write_json
from ptune_scale.parser import called


class Runner:
    """Runs jobs into an output directory, until SIGINT or SIGTERM, which go on to the job.

    Attributes:
        failures: why a job failed; of this run.
        stopped_by: number of the signal; 0 for none.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.failures: dict[PaperJob, str] = {}
        self.stopped_by = 0
        self._process: subprocess.Popen[bytes] | None = None

    def directory(self, job: PaperJob) -> Path:
        """A job's own."""
        return self.output / "jobs" / job.name

    def is_finished(self, job: PaperJob) -> bool:
        """Whether it ran to its end, in this run or an earlier one."""
        return self.directory(job).with_suffix(".json").is_file()

    def run(self, jobs: Iterable[PaperJob]) -> None:
        """Run what is not finished, or go on with it.

        A directory is never removed, not even one that the job refuses to go on with: the job says
        what is wrong with it, and its user decides.
        """
        try:
            (self.output / "jobs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.output, error) from error
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._pass_on) for number in signals}
        try:
            for job in dict.fromkeys(jobs):
                if not self.stopped_by and not self.is_finished(job):
                    self._run(job)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, job: PaperJob) -> None:
        directory, log = self.directory(job), self.directory(job).with_suffix(".log")
        command = [sys.executable, "-m", "ptune_scale", job.launcher, *job.arguments]
        command += ["--output_dir", str(directory)]
        if (directory / "run.json").exists():
            command += ["--resume_from", str(directory)]
        print(f"{called('paper')}: {job.name}", file=sys.stderr, flush=True)
        status = self.call(command, log)
        if not status:
            write_json(directory.with_suffix(".json"), {"command": command})
        elif not self.stopped_by:
            self.failures[job] = f"{said(log)} (status {status}; all of it in {log})"

    def call(self, command: Sequence[str], log: Path) -> int:
        """Run to the end; what is said on stderr is shown and kept. 128 + number for a signal."""
        # A terminal where ours is one, so that the job's bars are shown.
        ours, theirs = os.openpty() if sys.stderr.isatty() else os.pipe()
        if sys.stderr.isatty():
            termios.tcsetwinsize(theirs, termios.tcgetwinsize(sys.stderr.fileno()))
        try:
            file = log.open("wb", buffering=0)
        except OSError as error:
            os.close(ours)
            os.close(theirs)
            raise cannot_write(log, error) from error
        with file:
            self._process = subprocess.Popen(command, stderr=theirs)
            os.close(theirs)
            full: OSError | None = None
            while chunk := _read(ours):
                # Whatever becomes of the log, the job is heard to its end.
                try:
                    os.write(file.fileno(), chunk)
                except OSError as error:
                    full = error
                with contextlib.suppress(OSError):
                    sys.stderr.buffer.write(chunk)
                    sys.stderr.flush()
        os.close(ours)
        status = self._process.wait()
        if full is not None:
            raise cannot_write(log, full) from full
        return 128 - status if status < 0 else status

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = self.stopped_by or number
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def said(log: Path) -> str:
    """Why a job failed: its line of error, or the last that it wrote."""
    text = log.read_text(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.partition(": error: ")[2] for line in lines if ": error: " in line]
    return (errors or lines or ["it said nothing"])[-1]


def _read(end: int) -> bytes:
    try:
        return os.read(end, 4096)
    except OSError as error:
        if error.errno == errno.EIO:  # how a terminal says that its other end is closed
            return b""
        raise
