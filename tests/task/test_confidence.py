"""Intervals are as wide as what they are about is unsure."""

from dataclasses import replace
from random import Random

import pytest

from ptune_scale.task.confidence import ends, gained, interval, interval_of_mean, resampled, wilson
from ptune_scale.task.metrics import METRICS, Outcome


def answers(seed: int, count: int, right: float = 0.5) -> list[Outcome]:
    """Records of two labels, two to a group, a share of them answered rightly."""
    random = Random(seed)
    found = []
    for place in range(count):
        expected = random.choice("01")
        answer = expected if random.random() < right else "10"[int(expected)]
        found.append(
            Outcome(
                expected,
                answer,
                log_likelihood=-random.random() - 0.1,
                num_tokens=1,
                group=f"{seed}/{place // 2}",
            )
        )
    return found


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "perplexity", "em_by_group", "f1a"])
def test_about_as_many_samples_lie_within_as_are_said_to(name: str) -> None:
    metric = METRICS[name]
    of_many = metric.compute([o for seed in range(100) for o in answers(seed, 80)])
    found = [interval(metric, answers(seed, 80)) for seed in range(40)]
    holds = sum(low <= of_many <= high for low, high in filter(None, found))
    assert 33 <= holds <= 40


def test_the_interval_of_a_share_is_wilsons() -> None:
    outcomes = [Outcome("a", "a")] * 8 + [Outcome("a", "b")] * 2
    # Newcombe 1998, by the formula: (p + z^2/2n -+ z sqrt(pq/n + z^2/4n^2)) / (1 + z^2/n)
    assert interval(METRICS["accuracy"], outcomes) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_records_of_a_group_are_no_more_to_learn_from_than_the_group() -> None:
    outcomes = [Outcome("a", "a" if i % 4 else "b", group=str(i)) for i in range(40)]
    tenfold = [replace(o, group=o.group) for o in outcomes for _ in range(10)]
    one, many = (interval(METRICS["accuracy"], each) for each in (outcomes, tenfold))
    assert one is not None and many is not None
    assert many[1] - many[0] > 0.8 * (one[1] - one[0])


def test_the_same_records_give_the_same_interval() -> None:
    outcomes = answers(0, 60)
    assert interval(METRICS["macro_f1"], outcomes) == interval(METRICS["macro_f1"], outcomes)


def test_methods_that_agree_on_most_records_differ_more_surely_than_each_is_known() -> None:
    metric = METRICS["accuracy"]
    base = [replace(o, group="") for o in answers(1, 200)]
    better = [replace(o, answer=o.expected) if i % 10 == 0 else o for i, o in enumerate(base)]
    drawn = gained(metric, [better], [base])
    assert drawn is not None
    found = ends(drawn)
    assert found is not None
    low, high = found
    assert low > 0
    alone = interval(metric, base)
    assert alone is not None and high - low < alone[1] - alone[0]


def test_less_is_a_gain_where_less_is_better() -> None:
    outcomes = answers(2, 60)
    surer = [replace(o, log_likelihood=(o.log_likelihood or 0) / 2) for o in outcomes]
    drawn = gained(METRICS["perplexity"], [surer], [outcomes])
    assert drawn is not None and drawn.min() > 0


def test_a_mean_over_trials_and_over_tasks_is_surer_than_each() -> None:
    metric = METRICS["accuracy"]
    trials = [[replace(o, group="") for o in answers(seed, 100)] for seed in (3, 4)]
    parts = [resampled(metric, each, seed=seed) for seed, each in enumerate(trials)]
    found = [interval(metric, *trials), interval_of_mean(parts)]
    alone = interval(metric, trials[0])
    assert alone is not None
    assert all(each and each[1] - each[0] < alone[1] - alone[0] for each in found)
    assert interval_of_mean([parts[0], None]) is None


@pytest.mark.parametrize("name", ["macro_f1", "mcc", "f1a"])
def test_what_is_resampled_by_counts_is_what_the_metric_says_of_the_records(
    name: str, monkeypatch
) -> None:
    outcomes = answers(5, 40, right=0.7)
    by_counts = resampled(METRICS[name], outcomes)
    monkeypatch.setattr("ptune_scale.task.confidence._MOST_DRAWN", 50)  # too few to count
    by_records = resampled(METRICS[name], outcomes)
    assert by_counts == pytest.approx(by_records)


def test_one_group_says_nothing_of_others() -> None:
    assert interval(METRICS["accuracy"], [Outcome("a", "a", group="g")] * 3) is None
    assert interval(METRICS["macro_f1"], [Outcome("a", "a")]) is None


def test_groups_that_are_all_alike_do_not_tell_how_sure_it_is() -> None:
    outcomes = [Outcome("a", "a", group=str(i // 2)) for i in range(20)]
    assert interval(METRICS["accuracy"], outcomes) is None
