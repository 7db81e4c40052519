"""What prompts are trained for: how questions become batches, and how good a prompt is.

Shapes: R tasks, S prompt slots, H embedding size.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from ptune_scale.parallel import PromptFunction
from ptune_scale.task.answers.answer import Prediction, Question
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.example import Batch
from ptune_scale.task.metrics import find_metric
from ptune_scale.task.objective import Objective
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.selection import DevScore


class Problem(Protocol):
    """Turns the questions that a trainer draws into losses, and prompts into scores."""

    def batches(self, questions: Sequence[Any]) -> list[tuple[Batch, Objective]]:
        """The batches of a step, each with what is minimized on it."""
        ...

    def has_dev(self, task: int) -> bool:
        """Whether there are development records of it."""
        ...

    def score(self, tasks: Sequence[int], prompts: Tensor) -> dict[int, DevScore]:
        """How well each of these tasks does on its development records.

        Args:
            prompts: (R, S, H), the prompt matrix P; rows of ``tasks`` are filled.
        """
        ...


class TaskProblem:
    """Tasks of any kind: each task's own loss, and the metrics that it is selected on.

    Args:
        asker: how the model is asked; its prompts are put in place.
        tasks: of the job, in the order of P's rows.

    Attributes:
        found, metrics: of each task, what its development records were last answered with, and
            what that was worth.
    """

    def __init__(self, asker: Asker, tasks: Sequence[AskedTask]) -> None:
        self.asker = asker
        self.tasks = {task.index: task for task in tasks}
        self.panels = Panels(tasks)
        self.found: dict[int, list[Prediction]] = {}
        self.metrics: dict[int, dict[str, float]] = {}

    def batches(self, questions: Sequence[Question]) -> list[tuple[Batch, Objective]]:
        return self.panels.batches(questions)

    def has_dev(self, task: int) -> bool:
        return bool(self.tasks[task].dev)

    def predict(self, questions: Sequence[Question], prompts: Tensor) -> list[Prediction]:
        """Answers to questions of any of the tasks, in their order."""
        self.asker.prompts = prompts
        return self.panels.predict(self.asker, questions)

    def score(self, tasks: Sequence[int], prompts: Tensor) -> dict[int, DevScore]:
        questions = [question for index in tasks for question in self.tasks[index].dev]
        wanted = {name for index in tasks for name in self.tasks[index].task.select_on}
        self.asker.wants_likelihood = "perplexity" in wanted
        found = self.predict(questions, prompts) if questions else []
        scores = {}
        start = 0
        for index in tasks:
            task = self.tasks[index]
            part = found[start : start + len(task.dev)]
            start += len(task.dev)
            self.found[index] = part
            names = task.task.select_on if part else ()
            self.metrics[index] = task.measured(names, task.dev, part)
            values = [
                _for_selection(name, self.metrics[index].get(name, 0.0))
                for name in task.task.select_on
            ]
            scores[index] = DevScore(tuple(values), len(part))
        return scores


def _for_selection(name: str, value: float) -> float:
    """A metric as a value from 0 to 1 of which more is better."""
    if find_metric(name).better == "lower":
        return 1 / (1 + value)
    return (1 + value) / 2 if name == "mcc" else value


def asker_of(function: PromptFunction, config: TrainConfig, prompts: Tensor) -> Asker:
    """How a model is asked with a run's settings.

    Args:
        prompts: (R, S, H).
    """
    return Asker(function, prompts, config.eval_batch_size, config.eval_batch_tokens)
