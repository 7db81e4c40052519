"""Trainings of one kind: repetitions with other seeds, each the best on dev of a grid."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ptune_scale.config import TrainConfig
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.result import TaskResult
from ptune_scale.superglue.trials import Trial


def repeated(
    job: TaskJob,
    name: str,
    description: str,
    grid: Sequence[TrainConfig],
    train: Callable[[str, TrainConfig], Trial],
    *,
    depends_on: Any = None,
) -> TaskResult:
    """Mean and deviation over the repetitions that the configuration asks for.

    Args:
        grid: settings to try in each repetition.
        train: makes a trial, given its name and settings.
        depends_on: what else a trial depends on, see ``TaskJob.kept``.
    """
    trials: dict[str, Trial] = {}
    best = []
    for repetition in range(job.config.train.repetitions):
        of_this: list[Trial] = []
        for config in grid:
            config = replace(config, seed=config.seed + repetition)
            trial_name = f"{name}-seed{config.seed}"
            if len(grid) > 1:
                trial_name += f"-lr{config.lr:g}-batch{config.batch_size}"
            trials[trial_name] = job.kept(
                trial_name,
                (settings_of(job, config), depends_on),
                lambda trial_name=trial_name, config=config: train(trial_name, config),
            )
            of_this.append(trials[trial_name])
        best.append(max(of_this, key=lambda trial: on_dev(job, trial)))
    return TaskResult.of(name, description, best, trials)


def settings_of(job: TaskJob, config: TrainConfig) -> Any:
    """What trials depend on, of whatever method."""
    # Which methods a run has, and how many rounds of one of them, changes no other's trials.
    ask = replace(job.config.ask, method="", generations=1, demonstrations=1)
    # Nor does what only saves memory.
    config = replace(config, rows_per_forward=0, eval_batch_size=1, eval_batch_tokens=0)
    return ask, job.config.tune, config


def on_dev(job: TaskJob, trial: Trial) -> tuple[float, ...]:
    """What decides between trials."""
    return on_metrics(job, trial["dev"])


def on_metrics(job: TaskJob, metrics: Mapping[str, float]) -> tuple[float, ...]:
    """The metrics that decide on a task, the main one first."""
    return tuple(metrics.get(name, 0.0) for name in job.task.deciding)
