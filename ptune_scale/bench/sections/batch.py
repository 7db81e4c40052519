"""Facts per step, from few to many."""

from typing import Any

from ptune_scale.bench.comparison import Bench, measure_point
from ptune_scale.bench.tables import table_of

_SIZES = (8, 16, 32, 64, 128)


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Measure ours and PEFT in the same settings at each size."""
    points = result.setdefault("points", [])
    for size in _SIZES:
        facts = max(size, bench.config.facts_per_round)
        measure_point(bench, bench.case.with_flags(batch_size=size), {"facts": size}, points, facts)


def table(result: dict[str, Any]) -> str:
    """One line a size."""
    return table_of(result["points"], [])
