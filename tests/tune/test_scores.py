"""What is scored, and what intervals are taken over."""

from ptune_scale.task.metrics import Outcome
from ptune_scale.tune.scores import in_units, scores_of

OUTCOMES = [Outcome("a", "a" if n % 3 else "b", group="AB"[n % 2]) for n in range(60)]


def test_a_column_that_is_called_group_makes_no_difference_to_metrics_of_records() -> None:
    plain = [Outcome(o.expected, o.answer) for o in OUTCOMES]
    names = ["accuracy", "macro_f1"]
    assert scores_of(names, in_units(names, OUTCOMES)) == scores_of(names, plain)


def test_where_groups_are_judged_they_stay_together() -> None:
    names = ["accuracy", "em_by_group"]
    found = scores_of(names, in_units(names, OUTCOMES))
    assert found["em_by_group"] == 0
    assert (
        found["interval"]["accuracy"]
        != scores_of(["accuracy"], in_units(["accuracy"], OUTCOMES))["interval"]["accuracy"]
    )
