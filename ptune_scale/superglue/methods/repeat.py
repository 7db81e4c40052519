"""Trainings of one kind: repetitions with other seeds, each the best on dev of a grid."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ptune_scale.config import TrainConfig
from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.superglue.methods.result import TaskResult


def repeated(
    job: TaskJob,
    name: str,
    description: str,
    grid: Sequence[TrainConfig],
    train: Callable[[str, TrainConfig], Trial],
) -> TaskResult:
    """Mean and deviation over the repetitions that the configuration asks for.

    Args:
        grid: settings to try in each repetition.
        train: makes a trial, given its name and settings.
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
            settings = (job.config.ask, job.config.tune, config)
            trials[trial_name] = job.kept(
                trial_name,
                settings,
                lambda trial_name=trial_name, config=config: train(trial_name, config),
            )
            of_this.append(trials[trial_name])
        best.append(max(of_this, key=lambda trial: on_dev(job, trial)))
    return TaskResult.of(name, description, best, trials)


def on_dev(job: TaskJob, trial: Trial) -> tuple[float, ...]:
    """What decides between trials."""
    return tuple(trial["dev"].get(metric, 0.0) for metric in job.task.deciding)
