"""Sides measured in turn on one case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptune_scale.bench.case import Case
from ptune_scale.bench.config import BenchConfig
from ptune_scale.bench.feed import Feed
from ptune_scale.bench.flops import ModelSizes
from ptune_scale.bench.matmul import MatrixProduct
from ptune_scale.bench.rounds import Clock, Record, measure
from ptune_scale.bench.sides import OURS, PEFT_SAME_WAYS, build
from ptune_scale.bench.spread import ClockName
from ptune_scale.bench.summary import summarise
from ptune_scale.progress import bar

POINT_SIDES = (*PEFT_SAME_WAYS, OURS)
"""Sides of sections in which something is varied."""


@dataclass(frozen=True)
class Bench:
    """What sections are given.

    Attributes:
        config: what was asked for.
        case: what was asked to train on.
    """

    config: BenchConfig
    case: Case


def compare(
    bench: Bench,
    case: Case,
    names: Sequence[str],
    result: dict[str, Any],
    description: str,
    *,
    rounds: int,
    facts_per_round: int,
    clock: ClockName | None = None,
) -> None:
    """Measure sides by name.

    Args:
        result: gets what all finished rounds say, also if an interruption ends them.
        description: for the progress bar.
        clock: another than the benchmark's.

    Raises:
        UserError: facts, template or checkpoint do not fit a side.
    """
    sides = [build(name, case) for name in names]
    dtypes = {side.name: side.dtype for side in sides}
    sizes = ModelSizes.of(case.backbone.empty_model())
    products = [
        MatrixProduct(sizes, dtype, case.device) for dtype in dict.fromkeys(dtypes.values())
    ]
    feed = Feed(case.job())
    record = Record()
    total = rounds * facts_per_round * len(sides)
    with bar(description, total, "facts", shown=True) as progress:

        def advance(name: str, facts: int) -> None:
            progress.set_postfix_str(name)
            progress.update(facts)

        try:
            measure(
                [*products, *sides],
                record,
                rounds,
                first=feed.steps(bench.config.warmup_steps),
                following=lambda: feed.facts(facts_per_round),
                read_clock=Clock(case.device).read,
                advance=advance,
            )
        finally:
            if record.rounds:
                result.update(summarise(record, dtypes, clock or bench.config.clock))


def measure_point(
    bench: Bench, case: Case, label: dict[str, Any], points: list[dict[str, Any]], facts: int
) -> None:
    """Ours and PEFT in the same settings on one case.

    Args:
        label: what was varied; begins the point.
        points: the point is added to these if a round of it was finished.
        facts: in a round.
    """
    result: dict[str, Any] = {}
    name = ", ".join(f"{key} {value}" for key, value in label.items())
    rounds = bench.config.section_rounds
    try:
        compare(bench, case, POINT_SIDES, result, name, rounds=rounds, facts_per_round=facts)
    finally:
        if result:
            points.append({**label, "batch_size": case.config.train.batch_size, **result})
