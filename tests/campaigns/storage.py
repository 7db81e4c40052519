"""Disks that fail in the midst of a run: it ends in one line, keeps what it had, and goes on.

    python -m tests.campaigns.storage --count 24 --seed 0

At a random moment of training the disk of a run fills up, files may not grow beyond some bytes, its
directories may not be written to any more, or they are gone. Then the job has to end together on
all ranks, with a line and without a traceback, no checkpoint may be lost, and the same run, gone on
with when the disk is well again, has to come to the very bytes of one that nobody disturbed.
"""

import argparse
import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from ptune_scale.train import checkpoint
from tests.campaigns import small_job

PATIENCE_SECONDS = 60.0

Way = Literal["full", "limit", "read-only", "removed"]
WAYS: tuple[Way, ...] = ("full", "limit", "read-only", "removed")


@dataclass
class Trial:
    """A disk that fails, and what came of it.

    Attributes:
        after: the checkpoint after which it does.
        room: bytes that are left.
        ended: how the job ended: by itself, or by a line.
        faults: what is wrong with that.
    """

    number: int
    way: Way
    ranks: int
    after: int
    room: int
    ended: str = ""
    faults: list[str] = field(default_factory=list)


def planned(count: int, seed: int, ways: Sequence[Way] = WAYS) -> list[Trial]:
    """Trials of all ways, on two ranks and on one process in turn."""
    chance = random.Random(seed)
    trials = []
    for number in range(count):
        way, ranks = ways[number % len(ways)], 1 + number // len(ways) % 2
        last = small_job.STEPS // 5
        after = 5 * chance.randint(1, last)
        trials.append(Trial(number, way, ranks, after, chance.choice([0, 300, 3_000, 30_000])))
    return trials


class Campaign:
    """Runs jobs in a directory of its own.

    Args:
        directory: has what ``small_job.make`` writes.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prompts: dict[int, bytes | None] = {}

    def run_undisturbed(self, ranks: int) -> None:
        """What a run comes to on a disk that is well."""
        output = self.directory / f"undisturbed{ranks}"
        done = self._run(small_job.command(self.directory, output, ranks))
        assert done.returncode == 0, done.stderr[-3000:]
        self.prompts[ranks] = small_job.prompt_of(output)

    def run(self, trial: Trial) -> Trial:
        """Start a job, let its disk fail, look at what is left, mend the disk, and go on."""
        place = self.directory / f"disk{trial.number}"
        place.mkdir()
        with _disk(place, trial.way) as failure:
            output = place / "out"
            command = small_job.command(self.directory, output, trial.ranks)
            text, status, before = self._fail(command, output, trial, failure)
            self._look(text, status, before, output, trial)
            failure.mend()
            if status:
                again = (output / "run.json").is_file()
                done = self._run(small_job.resuming(output) if again else command)
                if done.returncode:
                    trial.faults.append(f"does not go on: {done.stderr.strip()[-200:]}")
            if small_job.prompt_of(output) != self.prompts[trial.ranks]:
                trial.faults.append("another prompt than that of an undisturbed run")
        return trial

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = small_job.environment()
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)

    def _fail(
        self, command: Sequence[str], output: Path, trial: Trial, failure: "_Failure"
    ) -> tuple[str, int, list[int]]:
        """What the job said, its status, and the steps of checkpoints when the disk failed."""
        mark = f"{os.getpid()}-{trial.number}"
        job = psutil.Popen(
            [*failure.prefix, *command],
            env=small_job.environment(**{small_job.MARK: mark}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        heard: list[str] = []
        reader = threading.Thread(target=lambda: heard.extend(job.stderr))
        reader.start()
        wanted = output / "checkpoint" / f"step-{trial.after:06d}"
        while not wanted.exists() and job.poll() is None:
            time.sleep(0.002)
        before = _steps(output)
        failure.strike(output, trial.room, small_job.marked(mark))
        with contextlib.suppress(psutil.TimeoutExpired):
            job.wait(PATIENCE_SECONDS)
        if left := small_job.marked(mark):
            trial.faults.append(f"{len(left)} processes after {PATIENCE_SECONDS:.0f} s")
            small_job.end(mark)
        status = job.wait()
        reader.join()
        return "".join(heard), status, before

    def _look(self, text: str, status: int, before: list[int], output: Path, trial: Trial) -> None:
        lines = [line for line in text.splitlines() if line.startswith("lama.py: ")]
        trial.ended = lines[0] if lines else f"status {status}"
        if status not in (0, 2):
            trial.faults.append(f"status {status}")
        if status and len(lines) != 1:
            trial.faults.append(f"{len(lines)} lines")
        if "Traceback" in text:
            trial.faults.append("a traceback")
        if trial.way != "removed" and before and max(before) > max(_steps(output), default=0):
            trial.faults.append("lost a checkpoint")


def _steps(output: Path) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(path.name[5:11]) for path in checkpoint.checkpoints(output / "checkpoint")]
    return []


class _Failure:
    """A disk that can fail, and be mended."""

    prefix: Sequence[str] = ()
    """Of the command that meets it."""

    def strike(self, output: Path, room: int, processes: Sequence[psutil.Process]) -> None:
        """Let it fail."""

    def mend(self) -> None:
        """Let it be well again."""


class _Full(_Failure):
    def strike(self, output: Path, room: int, processes: Sequence[psutil.Process]) -> None:
        self.ballast = output.parent / "ballast"
        with contextlib.suppress(OSError), self.ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        if room:
            os.truncate(self.ballast, max(0, self.ballast.stat().st_size - room))

    def mend(self) -> None:
        self.ballast.unlink()


class _Limit(_Failure):
    def strike(self, output: Path, room: int, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(OSError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, room))


class _ReadOnly(_Failure):
    def __init__(self) -> None:
        if os.geteuid() == 0:  # who else may write anywhere
            self.prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]

    def strike(self, output: Path, room: int, processes: Sequence[psutil.Process]) -> None:
        self.place = output.parent
        self._set(0o555)

    def mend(self) -> None:
        self._set(0o755)

    def _set(self, mode: int) -> None:
        for path in (self.place, *self.place.rglob("*")):
            with contextlib.suppress(OSError):
                if path.is_dir():
                    path.chmod(mode)


class _Removed(_Failure):
    def strike(self, output: Path, room: int, processes: Sequence[psutil.Process]) -> None:
        while output.exists():  # the job may write meanwhile
            shutil.rmtree(output, ignore_errors=True)


@contextlib.contextmanager
def _disk(place: Path, way: Way) -> Iterator[_Failure]:
    failures = {"full": _Full, "limit": _Limit, "read-only": _ReadOnly, "removed": _Removed}
    if way != "full":
        yield failures[way]()
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    try:
        yield _Full()
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def can_mount() -> bool:
    """Whether a small disk can be had here."""
    with tempfile.TemporaryDirectory() as place:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            return False
        subprocess.run(["umount", place], check=True)
    return True


def table(trials: Iterable[Trial]) -> str:
    """A line for each way and number of ranks, as Markdown."""
    rows = defaultdict(list)
    for trial in trials:
        rows[trial.way, trial.ranks].append(trial)
    lines = ["| disk | ranks | runs | ended by a line | ran to their end | faults |"]
    lines.append("|---|---|---|---|---|---|")
    for (way, ranks), of_way in rows.items():
        said = sum(trial.ended.startswith("lama.py: ") for trial in of_way)
        ended = sum(trial.ended == "status 0" for trial in of_way)
        faulty = sum(bool(trial.faults) for trial in of_way)
        cells = [way, ranks, len(of_way), said, ended, faulty]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def run_campaign(trials: Sequence[Trial], directory: Path) -> None:
    """Run trials, and say of each what came of it."""
    small_job.make(directory)
    campaign = Campaign(directory)
    for ranks in sorted({trial.ranks for trial in trials}):
        campaign.run_undisturbed(ranks)
    for trial in trials:
        campaign.run(trial)
        found = "; ".join(trial.faults) or "well"
        how = f"{trial.way}, {trial.ranks} ranks, after {trial.after}, {trial.room} bytes left"
        print(f"{trial.number}: {how}: {found}\n    {trial.ended}", flush=True)


def main() -> int:
    """Run the command line; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    ways = list(WAYS)
    if not can_mount():
        ways.remove("full")
        print("no disk is filled up: mounting one is not allowed here")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        ways.remove("read-only")
        print("no directory is read-only: root may write to any, and there is no setpriv")
    directory = Path(tempfile.mkdtemp(prefix="storage-"))
    trials = planned(given.count, given.seed, ways)
    run_campaign(trials, directory)
    faulty = sum(bool(trial.faults) for trial in trials)
    print(f"\n{table(trials)}\n\n{len(trials)} runs, {faulty} with faults; {directory}")
    if not faulty:
        shutil.rmtree(directory)
    return int(bool(faulty))


if __name__ == "__main__":
    sys.exit(main())
