"""What methods return, and trainings of one kind: repetitions, each the best on dev of a grid."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean, stdev
from typing import Any, Literal

from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.asking import AskedTask
from ptune_scale.tune.methods import Method


@dataclass(frozen=True)
class TaskMethod(Method["TaskResult"]):
    """A way to answer SuperGLUE's questions.

    Attributes:
        asks: the wordings that it needs: the task's own with prompt slots, or hand-written ones.
    """

    asks: Literal["", "tuned", "manual"] = ""

    @property
    def learns(self) -> bool:
        """Whether it is trained on what ``SuperglueTask.learn`` makes of the training records."""
        return self.asks == "tuned" or (self.asks == "manual" and self.tunes_backbone)


@dataclass(frozen=True)
class TaskResult:
    """Metrics of a method on a task, each between 0 and 1.

    Attributes:
        name: key in results.json.
        description: one line that says what was measured.
        dev, test: mean over trials.
        deviation: of the test metrics over trials, 0 for a single one.
        trials: by name, what it comes from.
        predictions: of the test records, in the first trial; empty where trials are of different
            ways to ask.
        reported: the trials that the metrics are means over, where they hold what was answered.
    """

    name: str
    description: str
    dev: dict[str, float]
    test: dict[str, float]
    deviation: dict[str, float]
    trials: Mapping[str, Any] = field(default_factory=dict)
    predictions: Sequence[Prediction] = ()
    reported: Sequence[Trial] = ()

    @classmethod
    def of(
        cls,
        name: str,
        description: str,
        reported: Sequence[Trial],
        trials: Mapping[str, Trial] | None = None,
        predictions: Sequence[Prediction] = (),
    ) -> "TaskResult":
        """Mean and deviation of the trials that are reported."""
        dev, test = (mean_of(reported, part) for part in ("dev", "test"))
        deviation = {
            metric: stdev(trial["test"][metric] for trial in reported) if len(reported) > 1 else 0.0
            for metric in test
        }
        answered = [trial for trial in reported if "predictions" in trial]
        return cls(name, description, dev, test, deviation, trials or {}, predictions, answered)


def mean_of(trials: Sequence[Trial], part: str) -> dict[str, float]:
    """Mean of each metric over trials."""
    return {name: fmean(trial[part][name] for trial in trials) for name in trials[0][part]}


def repeated(
    job: TaskJob,
    name: str,
    description: str,
    asked: Sequence[AskedTask],
    train: Callable[[TaskJob, str], Trial],
    *more: Any,
    tunes_backbone: bool = True,
) -> TaskResult:
    """Mean and deviation over the repetitions that the configuration asks for.

    Args:
        asked: what is trained for and scored on.
        train: makes a trial, given the job with its settings, and its name.
        more: what else a trial depends on.
    """
    grid = job.config.grid(job.own.few_shot, tunes_backbone=tunes_backbone)
    trials: dict[str, Trial] = {}
    best = []
    for repetition in range(job.config.train.repetitions):
        of_this: list[Trial] = []
        for config in grid:
            config = replace(config, seed=config.seed + repetition)
            trial_name = f"{name}-seed{config.seed}"
            if len(grid) > 1:
                trial_name += f"-lr{config.lr:g}-batch{config.batch_size}"
            trial_job = replace(job, config=replace(job.config, train=config))
            run = partial(train, trial_job, trial_name)
            trials[trial_name] = trial_job.kept(trial_name, asked, run, *more)
            of_this.append(trials[trial_name])
        best.append(max(of_this, key=lambda trial: decisive(job, trial["dev"])))
    return TaskResult.of(name, description, best, trials, job.predictions_of(best[0]))


def decisive(job: TaskJob, metrics: Mapping[str, float]) -> tuple[float, ...]:
    """The metrics that decide on a task, the main one first."""
    return tuple(metrics.get(name, 0.0) for name in job.select_on)
