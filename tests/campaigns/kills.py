"""Jobs killed at random moments: none hangs or is left behind, each says so, and each goes on.

    python -m tests.campaigns.kills --count 100 --seed 0

A job of one process or of two ranks gets SIGKILL, SIGTERM or SIGINT: its agent, one of its ranks,
or all of them as a terminal does. Then its processes have to be gone, its line has to be there, and
the same run, gone on with, has to come to the very bytes of one that nobody disturbed.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from tests.campaigns import small_job

_FINISHING_SECONDS = 10.0
PATIENCE_SECONDS = 60.0

Victim = Literal["process", "launcher", "rank 0", "rank 1", "group"]
When = Literal["early", "any time", "training"]
WAYS: list[tuple[int, Victim, signal.Signals]] = [
    (2, "launcher", signal.SIGKILL),
    (2, "rank 0", signal.SIGKILL),
    (2, "rank 1", signal.SIGKILL),
    (2, "launcher", signal.SIGTERM),
    (2, "launcher", signal.SIGINT),
    (2, "group", signal.SIGTERM),
    (2, "group", signal.SIGINT),
    (1, "process", signal.SIGKILL),
    (1, "process", signal.SIGTERM),
    (1, "process", signal.SIGINT),
]


@dataclass(frozen=True)
class Kill:
    """What is killed, how and when.

    Attributes:
        when: early, within three seconds of the ranks being there; in training, after some
            checkpoint; or at any time of the run.
        chance: share of the time that ``when`` leaves, from 0 to 1.
    """

    number: int
    ranks: int
    victim: Victim
    signal: signal.Signals
    when: When
    chance: float


@dataclass
class Outcome:
    """What came of a kill.

    Attributes:
        seconds: until all processes were gone.
        faults: what is wrong with it.
        was_late: the job had ended by itself before.
        was_heard: somebody was left who could say a line.
    """

    kill: Kill
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    was_late: bool = False
    was_heard: bool = True


def planned(count: int, seed: int) -> list[Kill]:
    """Kills of all ways, each at a moment of its own; a fifth of them early."""
    chance = random.Random(seed)
    kills = []
    for number in range(count):
        ranks, victim, signum = WAYS[number % len(WAYS)]
        when: When = "early" if chance.random() < 0.2 else "any time"
        if when == "any time" and chance.random() < 0.5:
            when = "training"
        kills.append(Kill(number, ranks, victim, signum, when, chance.random()))
    return kills


class Campaign:
    """Runs jobs in a directory of its own.

    Args:
        directory: has what ``small_job.make`` writes.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seconds: dict[int, float] = {}
        self.prompts: dict[int, bytes | None] = {}

    def run_undisturbed(self, ranks: int) -> None:
        """What a run comes to that nobody disturbs, and how long it takes."""
        output = self.directory / f"undisturbed{ranks}"
        started = time.monotonic()
        done = self._run(small_job.command(self.directory, output, ranks), "undisturbed")
        assert done.returncode == 0, done.stderr[-3000:]
        self.seconds[ranks] = time.monotonic() - started
        self.prompts[ranks] = small_job.prompt_of(output)

    def run(self, kill: Kill) -> Outcome:
        """Start a job, kill it, look at what is left, and go on."""
        outcome = Outcome(kill)
        output, mark = self.directory / f"out{kill.number}", f"{os.getpid()}-{kill.number}"
        scratch = self.directory / f"tmp{kill.number}"
        scratch.mkdir()
        log = self.directory / f"log{kill.number}"
        command = small_job.command(self.directory, output, kill.ranks)
        environment = small_job.environment(**{small_job.MARK: mark, "TMPDIR": str(scratch)})
        with log.open("wb") as stream:
            job = psutil.Popen(
                command,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )
        try:
            outcome.was_heard = self._strike(job, kill, output)
            killed_at = time.monotonic()
            outcome.was_late = job.poll() is not None and job.returncode == 0
            self._wait(job, mark, killed_at, outcome)
        finally:
            small_job.end(mark)
        if not outcome.was_late:
            self._look(job.wait(), log.read_text(errors="replace"), kill, outcome)
        # An interrupted line tells no file from another.
        left = [] if kill.signal == signal.SIGKILL else [p.name for p in scratch.iterdir()]
        outcome.faults += [f"left {name} behind" for name in left]
        if (output / "run.json").is_file():
            command = small_job.resuming(output)
        done = self._run(command, mark) if not outcome.was_late else None
        if done is not None and done.returncode:
            outcome.faults.append(f"does not go on: {done.stderr.strip().splitlines()[-1:]}")
        elif small_job.prompt_of(output) != self.prompts[kill.ranks]:
            outcome.faults.append("another prompt than that of an undisturbed run")
        if not outcome.faults:
            shutil.rmtree(output)
        return outcome

    def _run(self, command: Sequence[str], mark: str) -> subprocess.CompletedProcess[str]:
        environment = small_job.environment(**{small_job.MARK: mark})
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)

    def _strike(self, job: psutil.Popen, kill: Kill, output: Path) -> bool:
        """Kill it, when it is time; whether anybody is left who can say why it ends."""
        if kill.when == "early":
            while kill.ranks > 1 and not _ranks(job) and job.poll() is None:
                time.sleep(0.01)
            time.sleep(0.3 + 2.7 * kill.chance)
        elif kill.when == "any time":
            time.sleep(0.3 + self.seconds[kill.ranks] * kill.chance)
        else:
            step = 5 + int(kill.chance * small_job.STEPS / 5) * 5
            wanted = f"checkpoint/step-{step:06d}"
            while not (output / wanted).exists() and job.poll() is None:
                time.sleep(0.002)
            time.sleep(0.2 * random.Random(kill.number).random())
        ranks = _ranks(job)
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if kill.victim == "group":
                os.killpg(job.pid, kill.signal)
            elif kill.victim.startswith("rank"):
                rank = kill.victim[-1]
                while job.poll() is None and not (found := _ranks(job).get(rank)):
                    time.sleep(0.01)
                if job.poll() is None:
                    found.send_signal(kill.signal)
            else:
                job.send_signal(kill.signal)
        # What starts ranks is itself alone until it has checked what it was asked for.
        return bool(ranks) or kill.signal != signal.SIGKILL or kill.victim.startswith("rank")

    def _wait(self, job: psutil.Popen, mark: str, since: float, outcome: Outcome) -> None:
        while time.monotonic() - since < PATIENCE_SECONDS:
            outcome.seconds = time.monotonic() - since
            if job.poll() is not None and not small_job.marked(mark):
                return
            time.sleep(0.05)
        outcome.faults.append(
            f"{len(small_job.marked(mark))} processes after {PATIENCE_SECONDS:.0f} s"
        )

    def _look(self, status: int, text: str, kill: Kill, outcome: Outcome) -> None:
        by_itself = status == 0  # training was over before the signal came
        lines = [line for line in text.splitlines() if line.startswith("lama.py: ")]
        if not lines and outcome.was_heard and not by_itself:
            outcome.faults.append("no line")
        if by_itself and outcome.seconds > _FINISHING_SECONDS:
            outcome.faults.append("went on to its end")
        if "Traceback" in text:
            outcome.faults.append("a traceback")
        expected = 128 + kill.signal
        if kill.signal == signal.SIGKILL and not kill.victim.startswith("rank"):
            expected = -kill.signal
        if status not in (expected, 0):
            outcome.faults.append(f"status {status}, not {expected}")


def _ranks(job: psutil.Popen) -> dict[str, psutil.Process]:
    """The ranks of a job by number."""
    found = {}
    with contextlib.suppress(psutil.Error):
        for process in job.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if (rank := process.environ().get("RANK")) is not None:
                    found[rank] = process
    return found


def table(outcomes: Iterable[Outcome]) -> str:
    """A line for each way to kill, as Markdown."""
    rows = defaultdict(list)
    for outcome in outcomes:
        kill = outcome.kill
        rows[kill.ranks, kill.victim, kill.signal.name].append(outcome)
    lines = [
        "| ranks | killed | signal | kills | early | in training | ended before | slowest end "
        "| faults |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (ranks, victim, name), of_way in rows.items():
        whens = [outcome.kill.when for outcome in of_way]
        counts = (len(of_way), whens.count("early"), whens.count("training"))
        late = sum(outcome.was_late for outcome in of_way)
        slowest = max(outcome.seconds for outcome in of_way)
        faulty = sum(bool(outcome.faults) for outcome in of_way)
        cells = [ranks, victim, name, *counts, late, f"{slowest:.1f} s", faulty]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def run_campaign(kills: Sequence[Kill], directory: Path, jobs: int) -> list[Outcome]:
    """Run kills, so many at once, and say of each what came of it."""
    small_job.make(directory)
    campaign = Campaign(directory)
    for ranks in sorted({kill.ranks for kill in kills}):
        campaign.run_undisturbed(ranks)
    outcomes = []
    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(campaign.run, kills):
            outcomes.append(outcome)
            kill = outcome.kill
            found = "; ".join(outcome.faults) or "well"
            how = f"{kill.ranks} ranks, {kill.victim}, {kill.signal.name}, {kill.when}"
            print(f"{kill.number}: {how} {kill.chance:.2f}: {found}", flush=True)
    return outcomes


def main() -> int:
    """Run the command line; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="kills-"))
    outcomes = run_campaign(planned(given.count, given.seed), directory, given.jobs)
    faulty = sum(bool(outcome.faults) for outcome in outcomes)
    print(f"\n{table(outcomes)}\n\n{len(outcomes)} kills, {faulty} with faults; {directory}")
    if not faulty:
        shutil.rmtree(directory)
    return int(bool(faulty))


if __name__ == "__main__":
    sys.exit(main())
