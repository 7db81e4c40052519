"""Bars of the paper's numbers and of those measured here."""

from collections.abc import Mapping
from pathlib import Path

from ptune_scale.paper.request import Request


def draw(rows: Mapping[str, tuple[float, float]], request: Request, path: Path) -> None:
    """Write a PNG; without rows, none.

    Args:
        rows: by id, the paper's number and ours, in percent; means where a row has several.
    """
    if not rows:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.45 * len(rows) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    here = request.model or "the paper's model"
    for place, label in enumerate(("paper", f"here, {here}")):
        middle = [i + 0.4 * (place - 0.5) for i in range(len(rows))]
        axes.barh(middle, [pair[place] for pair in rows.values()], 0.4, label=label)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel("% (mean of the metrics that both have)")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
