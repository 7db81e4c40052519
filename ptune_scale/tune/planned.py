"""What a job is going to compute, roughly, before it begins."""

from collections.abc import Sequence

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.run.config import MethodConfig, TrainConfig
from ptune_scale.run.speed import Planned
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.task import Task, Wording
from ptune_scale.train.schedule import with_default_steps


def ask(
    task: Task,
    backbone: Backbone,
    index: int,
    seed: int,
    *,
    wording: Wording | None = None,
    beginning: Sequence[int] = (),
) -> AskedTask:
    """A task, ready for a model.

    Args:
        index: its row of the prompt matrix.
        wording: how it is asked; None for the task's own.
        beginning: token ids that its rows begin with.

    Raises:
        UserError: the wording does not fit the model.
    """
    return AskedTask(
        task,
        backbone.tokens,
        index,
        wording=wording,
        context_length=context_length(backbone.config),
        seed=seed,
        beginning=beginning,
    )


def planned(config: MethodConfig, tasks: Sequence[Task], backbone: Backbone) -> Planned:
    """All steps and evaluations of prompts that are tuned, and the test records of each method.

    Early stopping is not foreseen. There are no rows where the tasks' own wordings do not fit the
    model: then no method asks by them.
    """
    trains = any(name.startswith("ptuning") for name in config.methods)
    shown = tasks[: config.train.tasks_per_batch]
    try:
        asked = [ask(task, backbone, index, config.train.seed) for index, task in enumerate(shown)]
        taken = [_some(task, -(-config.train.batch_size // len(shown))) for task in asked]
    except UserError:
        return Planned((), 0, 0, 0)
    rows = [row for questions in taken for question in questions for row in question.rows]
    of_record = sum(len(row.ids) for row in rows) / max(1, sum(map(len, taken)))
    steps, evaluations = _steps(config.train, tasks) if trains else (0, 0.0)
    in_step = config.train.batch_tokens or config.train.batch_size * of_record
    dev = sum(len(task.splits.dev) for task in tasks)
    test = sum(len(task.splits.test) for task in tasks)
    return Planned(
        rows,
        # Whether anything trains or not: these rows have slots, and are computed to be timed.
        num_slots=max(task.num_slots for task in asked),
        trained=int(steps * in_step),
        asked=int((evaluations * dev + len(config.methods) * test) * of_record),
    )


def _some(task: AskedTask, count: int) -> list[Question]:
    """Questions of a task's first records, those to learn from if it has any."""
    if learned := task.task.splits.learned:
        return task.questions(learned[:count], "train")
    return task.questions(task.task.splits.test[:count], "evaluate")


def _steps(train: TrainConfig, tasks: Sequence[Task]) -> tuple[int, float]:
    """Steps of training, and evaluations of each task."""
    steps = with_default_steps(train, len(tasks)).max_steps
    if not steps:
        records = sum(len(task.splits.learned) for task in tasks)
        return train.max_epochs * -(-records // train.batch_size), train.max_epochs
    visits = steps * min(train.tasks_per_batch, len(tasks)) / len(tasks)
    return steps, visits / train.eval_every if train.eval_every else 1.0
