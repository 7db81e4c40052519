"""Rows that compete: who stops when, and that a state goes on."""

import torch

from ptune_scale.train.halving import Halving
from ptune_scale.train.selection import DevScore, Selection

CONTESTS = [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
TURNS = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def halving(budget: int = 80, every: int = 10) -> Halving:
    return Halving(CONTESTS, TURNS, [budget, budget], [every, every])


def scored(scores: list[float]) -> Selection:
    selection = Selection((len(scores), 1, 1), patience=0)
    for row, score in enumerate(scores):
        selection.record(row, DevScore((score,), 20), torch.zeros(1, 1), 1)
    return selection


def test_the_worse_half_stops_at_each_rung_until_one_is_left() -> None:
    rows = halving()
    assert rows.rungs == [[10, 20, 40]] * 2
    selection = scored([0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.5, 0.6, 0.4, 0.5])
    rows.settle([10] * 10, selection)
    assert [row for row in range(10) if rows.dropped[row]] == [0, 4, 7, 9]
    rows.settle([20] * 10, selection)
    rows.settle([40] * 10, selection)
    assert rows.winners() == [6, 1]
    rows.settle([80] * 10, selection)
    assert rows.winners() == [6, 1]


def test_nobody_is_compared_before_all_have_come_to_the_rung() -> None:
    rows = halving()
    visits = [10] * 9 + [9]
    rows.settle(visits, scored([0.5] * 10))
    # Of the first task all have; one row of the second has not.
    assert [row for row in range(10) if rows.dropped[row]] == [6, 8]


def test_a_row_that_stopped_of_itself_is_compared_and_not_waited_for() -> None:
    rows = halving()
    selection = scored([0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    selection.stopped[0] = True
    rows.settle([3, 10, 10, 10, 10, 10, 10, 10, 10, 10], selection)
    assert not rows.dropped[0]


def test_rungs_stand_at_evaluations_and_never_behind_the_budget() -> None:
    assert halving(budget=15, every=10).rungs == [[10, 10, 10]] * 2
    rows = halving(budget=5, every=10)
    rows.settle([5] * 10, scored([0.1] * 9 + [0.2]))
    assert rows.winners() == [0, 9]


def test_planned_visits_add_up_to_what_is_made() -> None:
    # 5 rows to 10, 3 to 20, 2 to 40 and 1 to 80.
    assert sum(halving().planned_visits()) == 2 * (50 + 30 + 40 + 40)
    assert halving().row_budgets == [80] * 10


def test_a_state_goes_on_where_it_was() -> None:
    first, second = halving(), halving()
    selection = scored([0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.5, 0.6, 0.4, 0.5])
    first.settle([10] * 10, selection)
    second.load_state_dict(first.state_dict())
    for rows in (first, second):
        rows.settle([20] * 10, selection)
    assert second.dropped == first.dropped
    assert second.state_dict() == first.state_dict()
