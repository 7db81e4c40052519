"""Medians and ratios over rounds, with the least and the most beside them."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ptune_scale.bench.rounds import Record, Timing

ClockName = Literal["cpu", "wall"]


@dataclass(frozen=True)
class Spread:
    """A number measured in several rounds."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Over at least one value."""
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        return {"median": self.median, "min": self.minimum, "max": self.maximum}


def seconds(timing: Timing, clock: ClockName) -> float:
    """What one of the two clocks says."""
    return timing.cpu_seconds if clock == "cpu" else timing.seconds


def facts_per_second(timing: Timing, clock: ClockName) -> float:
    return timing.done.facts / seconds(timing, clock)


def operations_per_second(timing: Timing, clock: ClockName) -> float:
    return timing.done.operations / seconds(timing, clock)


def over_rounds(record: Record, name: str, value: Callable[[Timing], float]) -> Spread:
    """A number of one side."""
    return Spread.of(value(timings[name]) for timings in record.rounds)


def ratio(record: Record, name: str, other: str, value: Callable[[Timing], float]) -> Spread:
    """How often the number of ``other`` goes into that of ``name``, round by round."""
    return Spread.of(value(t[name]) / value(t[other]) for t in record.rounds)
