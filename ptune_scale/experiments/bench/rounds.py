"""Rounds in which all sides train on the same records in turn, timed, and what they say.

What else happens on a machine comes and goes. Sides that are measured within seconds of each other
meet the same of it, so a ratio is taken within a round; the order is reversed in every second
round, so that a drift favours no side.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from ptune_scale.experiments.bench.feed import Round

ClockName = Literal["cpu", "wall"]

OURS = "ours"
PEFT_SAME = "peft_same_settings"
PEFT_DOCUMENTED, PEFT_GROUPED = "peft_documented", "peft_grouped"
PEFT_SAME_WAYS = (f"{PEFT_SAME}_eager", f"{PEFT_SAME}_sdpa")
"""Of these, ours is compared with the faster one."""


class Side(Protocol):
    """A way of P-tuning. Making one loads its model."""

    name: str

    def start(self) -> None:
        """Make what trains."""
        ...

    def run(self, facts: Round) -> int:
        """Train on the records of a round; returns on how many."""
        ...


@dataclass(frozen=True)
class Timing:
    """A side's part of a round: wall time, CPU time of all threads, and its records."""

    wall: float
    cpu: float
    facts: int

    def rate(self, clock: ClockName) -> float:
        """Records per second."""
        return self.facts / getattr(self, clock)


@dataclass
class Timings:
    """What was measured so far.

    Attributes:
        warmup_seconds: wall time of each side's untimed steps, what it starts with included.
        rounds: finished ones: side -> timing.
    """

    warmup_seconds: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, Timing]] = field(default_factory=list)


def clock_of(device: torch.device) -> Callable[[], tuple[float, float]]:
    """Wall time and CPU time at the end of all work given to a device."""

    def read() -> tuple[float, float]:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter(), time.process_time()

    return read


def measure(
    sides: Sequence[Side],
    timings: Timings,
    rounds: Iterable[Round],
    *,
    first: Round,
    read_clock: Callable[[], tuple[float, float]],
    advance: Callable[[str, int], None] = lambda name, facts: None,
) -> None:
    """Warm all sides up, then run the rounds; what is finished is in ``timings`` at any time.

    Args:
        first: what sides warm up on.
        read_clock: wall and CPU time in seconds.
        advance: told the side and the number of facts after each part of a round.
    """
    for side in sides:
        started = read_clock()[0]
        side.start()
        side.run(first)
        timings.warmup_seconds[side.name] = read_clock()[0] - started
    for number, facts in enumerate(rounds):
        found = {}
        for side in sides if number % 2 == 0 else reversed(sides):
            gc.collect()
            wall, cpu = read_clock()
            count = side.run(facts)
            wall_after, cpu_after = read_clock()
            found[side.name] = Timing(wall_after - wall, cpu_after - cpu, count)
            advance(side.name, count)
        timings.rounds.append(found)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and most of at least one value."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(timings: Timings, clock: ClockName) -> dict[str, Any]:
    """What all finished rounds say, of which there is at least one, ready for JSON."""
    names = list(timings.warmup_seconds)

    def rate(name: str) -> dict[str, float]:
        return spread(found[name].rate(clock) for found in timings.rounds)

    def ours_to(name: str, by: ClockName) -> dict[str, float]:
        return spread(found[OURS].rate(by) / found[name].rate(by) for found in timings.rounds)

    def of_side(name: str) -> Mapping[str, Any]:
        return {
            "facts_per_second": rate(name),
            "ours_is_times_as_fast": ours_to(name, clock),
            "ours_is_times_as_fast_by_wall_time": ours_to(name, "wall"),
            "warmup_seconds": timings.warmup_seconds[name],
            "rounds": [vars(found[name]) for found in timings.rounds],
        }

    ways = [name for name in PEFT_SAME_WAYS if name in names]
    fastest = max(ways, key=lambda name: rate(name)["median"], default=None)
    compared = {n: n for n in names if not n.startswith(OURS) and n not in PEFT_SAME_WAYS}
    compared |= {PEFT_SAME: fastest} if fastest else {}
    return {
        "clock": clock,
        "finished_rounds": len(timings.rounds),
        "peft_same_settings_is": fastest,
        "ratios": {name: ours_to(side, clock) for name, side in compared.items()},
        "sides": {name: of_side(name) for name in names},
    }
