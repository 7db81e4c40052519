"""Markdown tables of what was measured."""

from collections.abc import Sequence
from typing import Any

from ptune_scale.bench.sides import OURS, PEFT_SAME


def table_of(points: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    """Markdown, one line a point.

    Args:
        labels: keys of what was varied.
    """
    titles = [*labels, "facts per step", "text tokens per fact", "ours, facts/s", "PEFT, facts/s"]
    titles += ["ours is times as fast", "PEFT's attention", "ours, share of matmul"]
    lines = [row(titles), row(["---"] * len(titles))]
    for point in points:
        ours, peft = point["sides"][OURS], point["sides"][point["peft_same_settings_is"]]
        cells = [str(point[label]) for label in labels]
        cells += [str(point["batch_size"]), f"{ours['text_tokens_per_fact']:.1f}"]
        cells += [shown(side["facts_per_second"]) for side in (ours, peft)]
        cells.append(shown(point["ratios"][PEFT_SAME], 2))
        cells.append(point["peft_same_settings_is"].removeprefix(f"{PEFT_SAME}_"))
        cells.append(f"{ours['matmul_share']['median']:.0%}")
        lines.append(row(cells))
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def shown(spread: dict[str, float], digits: int = 1) -> str:
    """A median with its least and most."""
    low, high = spread["min"], spread["max"]
    return f"{spread['median']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
