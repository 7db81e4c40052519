"""Which prompt of a task is kept, and when the task stops."""

import pytest
import torch

from ptune_scale.train.config import Rule
from ptune_scale.train.selection import DevScore, Selection


def score(*values: float, count: int = 64) -> DevScore:
    return DevScore(values, count)


def record(selection: Selection, *scores: DevScore) -> list[bool]:
    return [
        selection.record(0, one, torch.full((2, 3), float(visit)), visit)
        for visit, one in enumerate(scores, start=1)
    ]


def test_a_later_prompt_within_one_standard_error_of_the_best_is_kept() -> None:
    selection = Selection((1, 2, 3), patience=0)
    # The standard error of 0.5 over 64 records is 0.0625.
    assert record(selection, score(0.5), score(0.45), score(0.43)) == [True, True, False]
    assert selection.best_visit == [2]
    assert torch.equal(selection.prompts[0], torch.full((2, 3), 2.0))


def test_scores_that_sink_slowly_do_not_drag_the_best_along() -> None:
    selection = Selection((1, 2, 3), patience=0)
    kept = record(selection, *(score(0.5 - 0.02 * i) for i in range(6)))
    assert kept == [True, True, True, True, False, False]
    assert selection.best == [0.5]


def test_a_task_stops_after_so_many_worse_evaluations_in_a_row() -> None:
    selection = Selection((1, 2, 3), patience=2)
    record(selection, score(0.9), score(0.1), score(0.9), score(0.1))
    assert selection.stopped == [False]
    record(selection, score(0.1))
    assert selection.stopped == [True]


@pytest.mark.parametrize("rule", ["standard_error", "reference", "reference_strict"])
def test_without_dev_records_the_latest_prompt_is_kept_and_nothing_stops(rule: Rule) -> None:
    selection = Selection((1, 2, 3), patience=1, rule=rule)
    assert record(selection, *[score(0.0, 0.0, count=0)] * 4) == [True] * 4
    assert selection.best_visit == [4] and torch.equal(
        selection.prompts[0], torch.full((2, 3), 4.0)
    )
    assert selection.misses == [0] and selection.stopped == [False]


def test_the_reference_keeps_what_equals_the_best() -> None:
    selection = Selection((1, 2, 3), patience=2, rule="reference")
    assert record(selection, score(0.5), score(0.49), score(0.5)) == [True, False, True]
    assert selection.misses == [0] and selection.best_visit == [3]


def test_the_reference_on_superglue_counts_equal_scores_as_misses() -> None:
    selection = Selection((1, 2, 3), patience=2, rule="reference_strict")
    assert record(selection, score(0.5), score(0.5)) == [True, True]
    assert selection.misses == [1] and selection.stopped == [False]
    assert record(selection, score(0.5)) == [True]
    assert selection.stopped == [True]


def test_the_reference_wants_all_metrics_to_hold() -> None:
    selection = Selection((1, 2, 3), patience=9, rule="reference_strict")
    scores = [score(0.5, 0.5), score(0.6, 0.4), score(0.6, 0.5), score(0.7, 0.6)]
    assert record(selection, *scores) == [True, False, True, True]
    assert selection.best_values == [(0.7, 0.6)] and selection.misses == [0]


def test_a_selection_goes_on_from_its_state() -> None:
    first = Selection((1, 2, 3), patience=3, rule="reference_strict")
    record(first, score(0.5, 0.4))
    second = Selection((1, 2, 3), patience=3, rule="reference_strict")
    second.load_state_dict(first.state_dict())
    assert record(first, score(0.5, 0.3)) == record(second, score(0.5, 0.3)) == [False]
