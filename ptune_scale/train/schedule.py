"""How long is trained, and the learning rate as a function of how often an encoder was."""

import math
from collections.abc import Sequence
from dataclasses import replace

from ptune_scale.errors import UserError
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.order import TaskOrder

_DECAY_PER_EPOCH = 0.98


def learning_rate(config: TrainConfig, visits: int, budget: int, visits_per_epoch: float) -> float:
    """Learning rate of the next update.

    Args:
        visits: updates made so far, counted in visits to the encoder's tasks.
        budget: visits planned in all.
        visits_per_epoch: visits that make up one pass over the tasks' facts.
    """
    progress = min(1.0, visits / max(1, budget))
    if config.warmup and progress < config.warmup:
        return config.lr * (visits + 1) / (config.warmup * budget + 1)
    if config.schedule == "linear":
        return config.lr * (1 - progress) / (1 - config.warmup)
    if config.schedule == "exponential":
        return config.lr * _DECAY_PER_EPOCH ** int(visits / visits_per_epoch)
    return config.lr


def tasks_per_step(config: TrainConfig, num_tasks: int) -> int:
    """How many tasks share a step: as configured, but no more than there are."""
    most = min(config.tasks_per_batch, num_tasks)
    return most if config.batch_tokens else min(most, config.batch_size)


def records_per_visit(config: TrainConfig, num_tasks: int) -> int:
    """How many records of a task a step takes where records are counted."""
    return max(1, config.batch_size // tasks_per_step(config, num_tasks))


def tokens_per_visit(config: TrainConfig, num_tasks: int) -> int | None:
    """How many tokens the records of a task may have in a step; None where records are counted."""
    if not config.batch_tokens:
        return None
    return config.batch_tokens // tasks_per_step(config, num_tasks)


def visit_budgets(config: TrainConfig, orders: Sequence[TaskOrder]) -> list[int]:
    """How many visits each task gets; with max_steps all get the same, to within one.

    Raises:
        UserError: some task would get none.
    """
    if config.max_steps == 0:
        return [config.max_epochs * order.visits_per_epoch for order in orders]
    total = config.max_steps * tasks_per_step(config, len(orders))
    if total < len(orders):
        raise UserError(
            f"--max_steps {config.max_steps} is too few for {len(orders)} tasks, "
            f"{tasks_per_step(config, len(orders))} of which share a step: some would never be "
            f"trained; give {math.ceil(len(orders) / tasks_per_step(config, len(orders)))} or more"
        )
    base, rest = divmod(total, len(orders))
    return [base + (index < rest) for index in range(len(orders))]


def with_default_steps(config: TrainConfig, num_tasks: int) -> TrainConfig:
    """Replace max_steps -1 by a number that grows with the tasks."""
    if config.max_steps >= 0:
        return config
    return replace(config, max_steps=max(480, config.steps_per_task * num_tasks))


def with_share_of_step(config: TrainConfig) -> TrainConfig:
    """Settings of a task by itself under which it trains as one of very many that share steps.

    Its batches are the share that each of ``tasks_per_batch`` tasks has, and its steps as many as a
    task has visits in such a job; a number that is given stands for them.
    """
    together = tasks_per_step(config, config.tasks_per_batch)
    steps = config.max_steps if config.max_steps >= 0 else config.steps_per_task * together
    tokens = tokens_per_visit(config, together)
    return replace(
        config,
        max_steps=steps,
        batch_size=records_per_visit(config, together),
        batch_tokens=0 if tokens is None else max(1, tokens),
        tasks_per_batch=1,
    )
