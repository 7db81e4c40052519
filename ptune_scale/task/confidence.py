"""How sure a metric's value is: intervals that hold the true one in 19 cases of 20.

Of other records of the same kind, that is; what another training would give is not in them.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ptune_scale.task.metrics import Metric, Outcome, counts_of, labels_of

Interval = tuple[float, float]

LEVEL = 0.95
_RESAMPLES = 500
_MOST_DRAWN = 2_000_000


def interval(metric: Metric, *trials: Sequence[Outcome]) -> Interval | None:
    """The confidence interval of a metric.

    For the share of records, or of groups, that are right it is Wilson's; else, percentiles of a
    bootstrap with a fixed seed. Records of a group are taken or left together.

    Args:
        trials: what was answered to the same records, once or in several trials whose mean it is.

    Returns:
        None where it cannot be told: of fewer than two groups, say, or of groups all alike.

    Raises:
        UserError: as ``Metric.compute``.
    """
    for outcomes in trials:
        metric.compute(outcomes)
    if metric.values and len(trials) == 1:
        values = metric.values(trials[0])
        if len(values) == len(_units(trials[0])) and {*values} <= {0.0, 1.0}:
            return wilson(round(sum(values)), len(values))
    found = resampled(metric, *trials)
    return None if found is None else ends(found)


def wilson(right: int, count: int) -> Interval:
    """The interval of a share (Wilson 1927), which has a width at 0 and 1 too."""
    from scipy.stats import binomtest

    found = binomtest(right, count).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def resampled(metric: Metric, *trials: Sequence[Outcome], seed: int = 0) -> np.ndarray | None:
    """Values of a metric on records drawn with replacement, (500,).

    The same seed draws the same places: two methods on the same records are compared by the
    difference of theirs. Tasks whose mean is taken get seeds of their own.

    Args:
        trials: see ``interval``.

    Returns:
        None where fewer than two records or groups are there.
    """
    from scipy.stats import bootstrap

    units = _units(trials[0])
    if len(units) < 2:
        return None
    parts = [_statistic(metric, outcomes, units) for outcomes in trials]
    found = bootstrap(
        (np.arange(len(units)),),
        lambda chosen, axis: sum(part(chosen) for part in parts) / len(parts),
        n_resamples=_RESAMPLES,
        batch=max(1, _MOST_DRAWN // len(units)),
        vectorized=True,
        method="percentile",
        rng=seed,
    )
    return found.bootstrap_distribution


def gained(
    metric: Metric,
    ours: Sequence[Sequence[Outcome]],
    theirs: Sequence[Sequence[Outcome]],
    seed: int = 0,
) -> np.ndarray | None:
    """What ``ours`` gains over ``theirs`` where more is better, resampled on the same records."""
    found = resampled(metric, *ours, seed=seed), resampled(metric, *theirs, seed=seed)
    if found[0] is None or found[1] is None:
        return None
    return (found[0] - found[1]) * (1 if metric.better == "higher" else -1)


def interval_of_mean(parts: Sequence[np.ndarray | None]) -> Interval | None:
    """The interval of a mean over tasks, of what was resampled of each; None where one lacks it."""
    known = [values for values in parts if values is not None]
    return ends(np.mean(known, axis=0)) if known and len(known) == len(parts) else None


def ends(values: np.ndarray) -> Interval | None:
    """What the middle 95 % of resampled values lie between.

    None where all are the same: so few records, or such alike ones, do not tell how sure it is.
    """
    if values.min() == values.max():
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _units(outcomes: Sequence[Outcome]) -> list[list[int]]:
    """What is taken or left together: places of records."""
    units: dict[str | int, list[int]] = defaultdict(list)
    for place, outcome in enumerate(outcomes):
        units[outcome.group or place].append(place)
    return list(units.values())


def _statistic(metric: Metric, outcomes: Sequence[Outcome], units: list[list[int]]) -> Any:
    """The metric of units chosen by number, (..., U) -> (...)."""
    values = metric.values(outcomes) if metric.values else ()
    if len(values) == len(outcomes):
        sums = np.array([sum(values[place] for place in unit) for unit in units])
        counts = np.array([len(unit) for unit in units])
        return lambda chosen: sums[chosen].sum(-1) / counts[chosen].sum(-1)
    if values and len(values) == len(units):  # one a group, in the order of groups
        return lambda chosen: np.array(values)[chosen].mean(-1)
    labels = labels_of(outcomes)
    size = len(labels)
    if (of_counts := metric.of_counts) and len(units) * size**2 < _MOST_DRAWN:
        counts = np.stack([counts_of([outcomes[i] for i in unit], labels) for unit in units])
        flat = counts.reshape(len(units), size * size)

        def confused(chosen: np.ndarray) -> np.ndarray:
            # How often each unit was drawn tells how often each pair of labels was.
            times = np.apply_along_axis(np.bincount, -1, chosen, minlength=len(units))
            return of_counts((times @ flat).reshape(*chosen.shape[:-1], size, size), labels)

        return confused
    members = [[outcomes[place] for place in unit] for unit in units]

    def whole(chosen: np.ndarray) -> float:
        return metric.compute([outcome for unit in chosen for outcome in members[unit]])

    return lambda chosen: np.apply_along_axis(whole, -1, chosen)
