"""How long is trained and how fast, against numbers written out."""

from dataclasses import replace

import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.example import Example
from ptune_scale.train.config import Schedule, TrainConfig
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.schedule import (
    learning_rate,
    records_per_visit,
    tasks_per_step,
    tokens_per_visit,
    visit_budgets,
    with_default_steps,
    with_share_of_step,
)


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("linear", 0.2, [1, 2, 3, 2.625, 2.25, 1.875, 1.5, 1.125, 0.75, 0.375, 0, 0]),
        ("linear", 0.0, [3, 2.7, 2.4, 2.1, 1.8, 1.5, 1.2, 0.9, 0.6, 0.3, 0, 0]),
        ("constant", 0.2, [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]),
        ("constant", 0.0, [3] * 12),
        ("exponential", 0.0, [3] * 4 + [2.94] * 4 + [2.8812] * 4),
        ("exponential", 0.2, [1, 2, 3, 3] + [2.94] * 4 + [2.8812] * 4),
    ],
)
def test_the_learning_rate_of_each_schedule(
    schedule: Schedule, warmup: float, rates: list[float]
) -> None:
    # 10 visits are planned, 4 of which are an epoch.
    config = TrainConfig(lr=3.0, schedule=schedule, warmup=warmup)
    found = [learning_rate(config, visits, 10, 4) for visits in range(12)]
    assert found == pytest.approx(rates)


def _orders(*sizes: int) -> list[TaskOrder]:
    row = Example(0, (1,), (-1,), (0,), (2,))
    return [TaskOrder(str(i), [row] * size, 2, seed=34) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("steps", "shared", "budgets"),
    [(6, 3, [6, 6, 6]), (5, 2, [4, 3, 3]), (1, 3, [1, 1, 1]), (3, 1, [1, 1, 1]), (2, 9, [2, 2, 2])],
)
def test_steps_are_shared_out_evenly(steps: int, shared: int, budgets: list[int]) -> None:
    config = TrainConfig(max_steps=steps, tasks_per_batch=shared)
    assert visit_budgets(config, _orders(4, 8, 2)) == budgets


def test_epochs_are_counted_by_task() -> None:
    config = TrainConfig(max_steps=0, max_epochs=5)
    assert visit_budgets(config, _orders(4, 7, 2)) == [10, 20, 5]


def test_a_task_that_would_get_no_step_is_refused() -> None:
    config = TrainConfig(max_steps=1, tasks_per_batch=2)
    with pytest.raises(UserError, match="--max_steps 1 is too few for 3 tasks, .* give 2 or more"):
        visit_budgets(config, _orders(4, 8, 2))


def test_a_step_is_shared_by_as_many_tasks_as_fit() -> None:
    config = TrainConfig(batch_size=4, tasks_per_batch=8)
    assert [tasks_per_step(config, n) for n in (1, 3, 20)] == [1, 3, 4]
    assert [records_per_visit(config, n) for n in (1, 3, 20)] == [4, 1, 1]
    assert tokens_per_visit(config, 3) is None
    by_tokens = replace(config, batch_tokens=100)
    assert [tasks_per_step(by_tokens, n) for n in (1, 3, 20)] == [1, 3, 8]
    assert [tokens_per_visit(by_tokens, n) for n in (1, 3, 20)] == [100, 33, 12]


def test_steps_grow_with_the_tasks_where_none_are_given() -> None:
    config = TrainConfig()
    assert [with_default_steps(config, n).max_steps for n in (1, 12, 41)] == [480, 480, 1640]
    assert with_default_steps(replace(config, max_steps=7), 41).max_steps == 7


@pytest.mark.parametrize(
    ("given", "alone"),
    [
        ({}, (320, 4, 0)),
        ({"max_steps": 12, "batch_size": 20, "tasks_per_batch": 3}, (12, 6, 0)),
        ({"batch_size": 4}, (160, 1, 0)),
        ({"max_steps": 0, "batch_tokens": 1000}, (0, 4, 125)),
    ],
)
def test_a_tasks_share_of_a_step_is_that_of_many_tasks(
    given: dict[str, int], alone: tuple[int, int, int]
) -> None:
    found = with_share_of_step(TrainConfig(**given))
    assert (found.max_steps, found.batch_size, found.batch_tokens) == alone
    assert tasks_per_step(found, 1) == 1 and records_per_visit(found, 1) == alone[1]
