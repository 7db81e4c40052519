"""Rounds in which all sides train on the same facts in turn, timed.

What else happens on a machine comes and goes. Sides that are measured within seconds of each other
meet the same of it, so a ratio is taken within a round; the order is reversed in every second
round, so that a drift favours no side.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from ptune_scale.bench.feed import Round


@dataclass(frozen=True)
class Done:
    """What a side did in a round.

    Attributes:
        facts: that it trained on.
        tokens: of all rows, padding not counted.
        text_tokens: of these, those that are not prompt slots.
        operations: floating point operations that it needed, see ``flops``.
    """

    facts: int
    tokens: int
    text_tokens: int
    operations: float


class Runner(Protocol):
    """What can be measured in turn with others."""

    name: str

    def start(self) -> None:
        """Make what trains. Weights of the model are there already."""
        ...

    def run(self, facts: Round) -> Done:
        """Train on the facts of a round."""
        ...


@dataclass(frozen=True)
class Timing:
    """A side's part of a round.

    Attributes:
        seconds, cpu_seconds: wall time, and CPU time of all threads.
        done: what was done in it.
    """

    seconds: float
    cpu_seconds: float
    done: Done


@dataclass
class Record:
    """What was measured so far.

    Attributes:
        warmup_seconds: wall time of each side's untimed steps, what it starts with included.
        rounds: finished ones: side -> timing.
    """

    warmup_seconds: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, Timing]] = field(default_factory=list)


class Clock:
    """Wall time and CPU time at the end of all work given to a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def read(self) -> tuple[float, float]:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter(), time.process_time()


def measure(
    runners: Sequence[Runner],
    record: Record,
    rounds: int,
    *,
    first: Round,
    following: Callable[[], Round],
    read_clock: Callable[[], tuple[float, float]],
    advance: Callable[[str, int], None] = lambda name, facts: None,
) -> None:
    """Warm all sides up, then run the rounds; what is finished is in the record at any time.

    Args:
        first: what sides warm up on.
        following: the facts of the next round.
        read_clock: wall and CPU time in seconds.
        advance: told the side and the number of facts after each part of a round.
    """
    for runner in runners:
        started = read_clock()[0]
        runner.start()
        runner.run(first)
        record.warmup_seconds[runner.name] = read_clock()[0] - started
    for number in range(rounds):
        facts = following()
        timings = {}
        for runner in runners if number % 2 == 0 else reversed(runners):
            gc.collect()
            wall, cpu = read_clock()
            done = runner.run(facts)
            wall_after, cpu_after = read_clock()
            timings[runner.name] = Timing(wall_after - wall, cpu_after - cpu, done)
            advance(runner.name, done.facts)
        record.rounds.append(timings)
