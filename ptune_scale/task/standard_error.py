"""How sure a metric's value is."""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import stdev

from ptune_scale.task.metrics import Metric, Outcome

_RESAMPLES = 200


def standard_error(metric: Metric, outcomes: Sequence[Outcome]) -> float | None:
    """How far the value would be off with other records of the same kind (one sigma).

    Records of a group are taken or left together. In closed form for means, else from a bootstrap
    with a fixed seed.

    Returns:
        None where fewer than two records or groups are there.

    Raises:
        UserError: as ``Metric.compute``.
    """
    metric.compute(outcomes)
    units: dict[str | int, list[Outcome]] = defaultdict(list)
    for number, outcome in enumerate(outcomes):
        units[outcome.group or number].append(outcome)
    if len(units) < 2:
        return None
    if metric.values:
        values = metric.values(outcomes)
        if len(values) == len(units):
            return stdev(values) / math.sqrt(len(values))
    from scipy.stats import bootstrap

    members = list(units.values())

    def again(chosen: Sequence[int]) -> float:
        return metric.compute([outcome for unit in chosen for outcome in members[unit]])

    found = bootstrap(
        (range(len(members)),),
        again,
        n_resamples=_RESAMPLES,
        vectorized=False,
        method="percentile",
        rng=0,
    )
    return float(found.standard_error)
