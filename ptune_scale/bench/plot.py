"""Facts per second of each side as bars, with their spread."""

from pathlib import Path
from typing import Any


def draw(sides: dict[str, dict[str, Any]], path: Path) -> None:
    """Write a PNG.

    Args:
        sides: name -> "facts_per_second" with "median", "min" and "max".
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    names = list(sides)
    rates = [sides[name]["facts_per_second"] for name in names]
    heights = [rate["median"] for rate in rates]
    below = [rate["median"] - rate["min"] for rate in rates]
    above = [rate["max"] - rate["median"] for rate in rates]
    figure = Figure(figsize=(1.4 * len(names) + 2, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(names)), heights, yerr=[below, above], capsize=4)
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_ylabel("facts per second")
    axes.set_title("P-tuning: median, least and most over rounds")
    figure.savefig(path, dpi=120)
