"""Tokens per fact, from few to many: subjects of so many words of real facts."""

from typing import Any

from ptune_scale.bench.comparison import Bench, measure_point
from ptune_scale.bench.sections.passages import longest, passage_case
from ptune_scale.bench.tables import table_of

_LENGTHS = (8, 16, 32, 64, 128, 256)


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Measure ours and PEFT in the same settings at each length that the model takes."""
    points = result.setdefault("points", [])
    for length in _LENGTHS:
        if length <= longest(bench.case):
            case, facts = passage_case(bench, bench.case, length)
            measure_point(bench, case, {"input tokens": length}, points, facts)


def table(result: dict[str, Any]) -> str:
    """One line a length."""
    return table_of(result["points"], ["input tokens"])
