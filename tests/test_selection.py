"""Which prompt of a relation is kept, and when the relation stops."""

import torch

from ptune_scale.selection import DevScore, Selection


def score(*values: float, facts: int = 64) -> DevScore:
    return DevScore(values, facts)


def record(selection: Selection, *scores: DevScore) -> list[bool]:
    return [
        selection.record(0, one, torch.full((2, 3), float(visit)), visit)
        for visit, one in enumerate(scores, start=1)
    ]


def test_a_later_prompt_within_one_standard_error_of_the_best_is_kept():
    selection = Selection((1, 2, 3), patience=0)
    # The standard error of 0.5 over 64 facts is 0.0625.
    assert record(selection, score(0.5), score(0.45), score(0.43)) == [True, True, False]
    assert selection.best_visit == [2]
    assert torch.equal(selection.prompts[0], torch.full((2, 3), 2.0))


def test_scores_that_sink_slowly_do_not_drag_the_best_along():
    selection = Selection((1, 2, 3), patience=0)
    kept = record(selection, *(score(0.5 - 0.02 * i) for i in range(6)))
    assert kept == [True, True, True, True, False, False]
    assert selection.best == [0.5]


def test_a_relation_stops_after_so_many_worse_evaluations_in_a_row():
    selection = Selection((1, 2, 3), patience=2)
    record(selection, score(0.9), score(0.1), score(0.9), score(0.1))
    assert selection.stopped == [False]
    record(selection, score(0.1))
    assert selection.stopped == [True]


def test_without_development_facts_the_last_prompt_is_kept():
    selection = Selection((1, 2, 3), patience=1)
    assert record(selection, score(0.0, facts=0), score(0.0, facts=0)) == [True, True]
    assert selection.best_visit == [2]


def test_the_reference_keeps_what_equals_the_best():
    selection = Selection((1, 2, 3), patience=2, rule="reference")
    assert record(selection, score(0.5), score(0.49), score(0.5)) == [True, False, True]
    assert selection.misses == [0] and selection.best_visit == [3]


def test_the_reference_on_superglue_counts_equal_scores_as_misses():
    selection = Selection((1, 2, 3), patience=2, rule="reference_strict")
    assert record(selection, score(0.5), score(0.5)) == [True, True]
    assert selection.misses == [1] and selection.stopped == [False]
    assert record(selection, score(0.5)) == [True]
    assert selection.stopped == [True]


def test_the_reference_wants_all_metrics_to_hold():
    selection = Selection((1, 2, 3), patience=9, rule="reference_strict")
    scores = [score(0.5, 0.5), score(0.6, 0.4), score(0.6, 0.5), score(0.7, 0.6)]
    assert record(selection, *scores) == [True, False, True, True]
    assert selection.best_values == [(0.7, 0.6)] and selection.misses == [0]


def test_a_selection_goes_on_from_its_state():
    first = Selection((1, 2, 3), patience=3, rule="reference_strict")
    record(first, score(0.5, 0.4))
    second = Selection((1, 2, 3), patience=3, rule="reference_strict")
    second.load_state_dict(first.state_dict())
    assert record(first, score(0.5, 0.3)) == record(second, score(0.5, 0.3)) == [False]
