"""Plots that help to decide: scores, gains, learning curves, seen and unseen answers, confusions.

Each is made of numbers that results.json has, but for confusions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptune_scale.task.confidence import Interval
from ptune_scale.task.metrics import Outcome, counts_of, labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Score = tuple[float, Interval | None]
"""A value between 0 and 1 and its confidence interval."""

_MOST_LABELS = 30
_MOST_WRITTEN = 12
_MOST_IN_LEGEND = 12


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        name: of its file, without ``.png``.
        title: what it shows, in a line.
    """

    name: str
    title: str
    figure: "Figure"


def scores(bars: Mapping[str, Mapping[str, Score]], name: str, title: str) -> Plot | None:
    """Bars of each method's score on each task.

    Args:
        bars: method -> task -> score.
    """
    tasks = list(dict.fromkeys(task for of_method in bars.values() for task in of_method))
    if not tasks:
        return None
    width = 0.8 / len(bars)
    size = (min(40, max(5, (0.3 + 0.1 * len(bars)) * len(tasks) + 2)), 4)
    figure, axes = _figure(*size)
    for place, (method, of_method) in enumerate(bars.items()):
        left = (place - (len(bars) - 1) / 2) * width
        places = [tasks.index(task) + left for task in of_method]
        heights = [100 * value for value, _ in of_method.values()]
        axes.bar(places, heights, width, yerr=_errors(of_method.values()), label=method, **_BAR)
    axes.set_xticks(range(len(tasks)), _short(tasks), rotation=60 if len(tasks) > 8 else 0)
    axes.set_ylabel("score (%)")
    axes.margins(x=0.02)
    axes.legend(fontsize="small")
    return Plot(name, title, figure)


def gains(of_task: Mapping[str, Score], method: str, base: str) -> Plot | None:
    """What a method gains over another on each task, sorted; none for a single task."""
    if len(of_task) < 2:
        return None
    order = sorted(of_task, key=lambda task: of_task[task][0])
    figure, axes = _figure(6.5, max(2.5, 0.22 * len(order) + 1))
    found = [of_task[task] for task in order]
    values = [100 * value for value, _ in found]
    colors = ["tab:green" if value > 0 else "tab:red" for value in values]
    axes.barh(range(len(order)), values, xerr=_errors(found), color=colors, **_BAR)
    axes.set_yticks(range(len(order)), _short(order))
    axes.axvline(0, color="black", lw=0.8)
    axes.margins(y=0.02)
    axes.set_xlabel("points")
    return Plot(f"gain_{method}", f"Gain of {method} over {base}", figure)


def curves(training: Mapping[str, Any], method: str) -> Plot | None:
    """Loss by step, and the score of each task on dev.

    Args:
        training: with ``losses`` and, where there is dev, ``dev_curve`` by task.
    """
    losses = training.get("losses") or []
    if len(losses) < 2:
        return None
    figure, axes = _figure(6.5, 5, rows=2)
    above, below = axes
    above.plot(range(1, len(losses) + 1), losses, lw=0.8, color="tab:gray")
    if (span := len(losses) // 30) > 1:
        smooth = [sum(losses[i - span : i]) / span for i in range(span, len(losses) + 1)]
        above.plot(range(span, len(losses) + 1), smooth, lw=1.6, label=f"mean of {span} steps")
        above.legend(fontsize="small")
    above.set_ylabel("loss (nats)")
    found = {task: points for task, points in training.get("dev_curve", {}).items() if points}
    for task, points in found.items():
        steps, values = zip(*points, strict=True)
        below.plot(steps, [100 * v for v in values], marker=".", lw=1, label=_short([task])[0])
    if len(found) <= _MOST_IN_LEGEND and found:
        below.legend(fontsize="x-small")
    below.set_ylabel("dev (%)" if found else "no dev")
    below.set_xlabel("step")
    return Plot(f"curves_{method}", f"Learning curves of {method}", figure)


def seen_and_unseen(bars: Mapping[str, Mapping[str, Score]]) -> Plot | None:
    """Scores on answers that training has shown, and on those that it has not.

    Args:
        bars: method -> "seen", "unseen" -> score.
    """
    if not any(len(of_method) == 2 for of_method in bars.values()):
        return None
    figure, axes = _figure(6.5, max(2.5, 0.5 * len(bars) + 1))
    for offset, kind in ((0.2, "seen"), (-0.2, "unseen")):
        has = [method for method in bars if kind in bars[method]]
        places = [len(bars) - 1 - list(bars).index(method) + offset for method in has]
        found = [bars[method][kind] for method in has]
        values = [100 * value for value, _ in found]
        axes.barh(places, values, 0.38, xerr=_errors(found), label=f"{kind} in training", **_BAR)
    axes.set_yticks(range(len(bars)), list(bars)[::-1])
    axes.set_xlabel("P@1 (%)")
    axes.legend(fontsize="small")
    return Plot("seen", "Answers seen in training, and others", figure)


def confusion(outcomes: Sequence[Outcome], task: str, method: str) -> Plot | None:
    """How often each label was answered to each; none where they are too many."""
    labels = labels_of(outcomes)
    if not 2 <= len(labels) <= _MOST_LABELS:
        return None
    counts = counts_of(outcomes, labels).astype(int)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    size = max(3, min(9, 0.45 * len(labels) + 1.8))
    figure, axes = _figure(size, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= _MOST_WRITTEN:
        for (row, column), count in _each(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(labels)), _short(labels), rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), _short(labels))
    axes.set_xlabel("answered")
    axes.set_ylabel("right")
    return Plot(f"confusion_{task}_{method}", f"{task}, {method}: right and given answers", figure)


_BAR: dict[str, Any] = {"error_kw": {"lw": 0.8}}


def _figure(width: float, height: float, rows: int = 1) -> tuple["Figure", Any]:
    # Not pyplot's, which keeps figures and asks for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Axes = figure.subplots(rows, sharex=True)
    return figure, axes


def _errors(found: Any) -> list[list[float]]:
    """How far intervals reach down and up, in percent; nowhere where there is none."""
    spans = [(value, interval or (value, value)) for value, interval in found]
    below = [100 * max(0.0, value - low) for value, (low, _) in spans]
    return [below, [100 * max(0.0, high - value) for value, (_, high) in spans]]


def _short(names: Sequence[str]) -> list[str]:
    # A dollar sign begins a formula there.
    return [(f"{n[:23]}…" if len(n) > 24 else n).replace("$", r"\$") for n in names]


def _each(counts: Any) -> list[tuple[tuple[int, int], int]]:
    rows = list(enumerate(counts.tolist()))
    return [((i, j), count) for i, row in rows for j, count in enumerate(row)]
