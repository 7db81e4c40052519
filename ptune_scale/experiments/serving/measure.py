"""The same work in three ways: a local job of all tasks, jobs in turn, clients of a server."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.experiments.serving.cores import Cores, bound

_READY_SECONDS = 3600.0


@dataclass(frozen=True)
class Measured:
    """What one way came to.

    Attributes:
        records: trained on.
        training_seconds: of the job, or the longest of several at once, or all that took turns.
        wall_seconds: from the first command to the last one's end; models are loaded in it.
    """

    name: str
    records: float
    training_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class ManyClients:
    """What is to be done in each way.

    Attributes:
        relations: one for each client.
        steps, batch_size: of each client; the joint job's steps hold the rows of all of them.
        cores: where the parts run.
    """

    model: Sequence[str]
    relations: Sequence[str]
    steps: int
    batch_size: int
    output: Path
    cores: Cores

    def one_job(self) -> Measured:
        """All relations in one local job, whose steps mix all of them."""
        count = len(self.relations)
        flags = self._flags(",".join(self.relations), self.batch_size * count, count)
        started = time.perf_counter()
        _finish([_start("lama", [*flags, *self.model, *self._to("joint")], self.cores.models)])
        wall = time.perf_counter() - started
        return self._measured("one local job of all tasks", ["joint"], wall)

    def in_turn(self) -> Measured:
        """A local job for each relation, one after another, each of which loads the model."""
        started = time.perf_counter()
        for relation in self.relations:
            flags = self._flags(relation, self.batch_size, 1)
            flags += [*self.model, *self._to(f"turn-{relation}")]
            _finish([_start("lama", flags, self.cores.models)])
        wall = time.perf_counter() - started
        names = [f"turn-{relation}" for relation in self.relations]
        return self._measured(f"{len(names)} local jobs taking turns", names, wall)

    def served(self, url: str) -> Measured:
        """A client of a server for each relation, all at once."""
        started = time.perf_counter()
        _finish(
            [
                _start(
                    "lama",
                    [
                        *self._flags(relation, self.batch_size, 1),
                        *("--backbone", url, *self._to(f"client-{relation}")),
                    ],
                    self.cores.clients,
                )
                for relation in self.relations
            ]
        )
        wall = time.perf_counter() - started
        names = [f"client-{relation}" for relation in self.relations]
        return self._measured(f"{len(names)} clients at once", names, wall, at_once=True)

    def _flags(self, relations: str, batch_size: int, tasks: int) -> list[str]:
        return [
            *("--relations", relations, "--method", "ptuning", "--max_steps", str(self.steps)),
            *("--batch_size", str(batch_size), "--tasks_per_batch", str(tasks)),
            *("--dev_facts", "4", "--test_facts", "4", "--checkpoint_every", "0"),
            *("--eval_every", str(self.steps), "--patience", "0"),
        ]

    def _to(self, name: str) -> list[str]:
        return ["--output_dir", str(self.output / name)]

    def _measured(
        self, name: str, jobs: Sequence[str], wall: float, *, at_once: bool = False
    ) -> Measured:
        results = [json.loads((self.output / job / "results.json").read_text()) for job in jobs]
        found = [each["throughput"] for each in results]
        seconds = [each["training_seconds"] for each in found]
        records = sum(each["facts_per_second"] * each["training_seconds"] for each in found)
        return Measured(name, records, max(seconds) if at_once else sum(seconds), wall)


@contextlib.contextmanager
def serving(flags: Sequence[str], cores: Cores) -> Iterator[str]:
    """The address of a server, which ends with the context.

    Raises:
        UserError: it did not begin; the reason is its own.
    """
    server = _start("serve", [*flags, "--port", "0"], cores.models)
    assert server.stdout is not None
    try:
        said = []
        for line in server.stdout:
            said.append(line.strip())
            if found := re.search(r"at (http://\S+)$", line):
                yield found[1]
                break
        else:
            raise UserError(f"the server did not begin: {(said or ['it said nothing'])[-1]}")
    finally:
        server.terminate()
        server.communicate()


def _start(command: str, flags: Sequence[str], cores: frozenset[int]) -> subprocess.Popen[str]:
    with bound(cores):  # a process inherits where it may run, and so do its threads
        return subprocess.Popen(
            [sys.executable, "-m", "ptune_scale", command, *flags],
            env={"OMP_NUM_THREADS": "1", **os.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _finish(jobs: Sequence[Any]) -> None:
    """Wait for all jobs.

    Raises:
        UserError: one failed; the reason is its own.
    """
    for job in jobs:
        said = job.communicate()[0]
        if job.returncode:
            reasons = [line for line in said.splitlines() if "error: " in line]
            raise UserError(f"a job failed: {[*reasons, said[-300:]][0]}")
