"""Fine-tuning on one task: the loop that moves the weights on the right of the waist.

It stands beside ``train``, which moves prompts alone, and takes its measure from it: a task is
shown as many records, in the order that its name and the seed give, and the state that is scored is
chosen by the same rule on the same development examples. Prompts may be trained beside the weights.

Shapes: R tasks, S prompt slots, H embedding size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ptune_scale.parallel import TunedFunction
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.order import Sized, TaskOrder
from ptune_scale.train.problem import Problem
from ptune_scale.train.schedule import (
    learning_rate,
    records_per_visit,
    tokens_per_visit,
    visit_budgets,
)
from ptune_scale.train.selection import DevScore, Selection
from ptune_scale.train.trainable import PromptSource
from ptune_scale.train.trainer import Diverged, StepResult, loss_and_gradient

Tested = TypeVar("Tested")
"""What a test under the present weights says."""


@dataclass(frozen=True)
class Course:
    """How long one task is trained.

    Attributes:
        order: its examples, a whole step's at a time.
        steps: updates, if it does not stop early.
        eval_every: steps between evaluations on dev.
    """

    order: TaskOrder
    steps: int
    eval_every: int

    @property
    def records(self) -> int:
        return round(self.steps * self.order.mean_records)


@dataclass(frozen=True)
class Finetuned(Generic[Tested]):
    """What came of fine-tuning on a task.

    Attributes:
        tested: what the test said of the weights and prompts that were chosen.
        best_step: after which they were chosen.
        losses: of each step, in nats.
        records: trained on, repetitions counted.
    """

    tested: Tested
    best_step: int
    losses: tuple[float, ...]
    records: int


def courses(
    config: TrainConfig, names: Sequence[str], examples: Sequence[Sequence[Sized]]
) -> list[Course]:
    """A course for each task in which it is shown as many records as a joint P-tuning shows it.

    There a step shares its batch out to several tasks. Here it is one task's, so that
    the steps are fewer in the same measure: visits x facts per visit / facts per step. So are those
    between evaluations, that there are as many.
    """

    def orders(num_tasks: int) -> list[TaskOrder]:
        size = records_per_visit(config, num_tasks)
        tokens = tokens_per_visit(config, num_tasks)
        return [
            TaskOrder(name, part, size, config.seed, tokens_per_visit=tokens)
            for name, part in zip(names, examples, strict=True)
        ]

    joint = orders(len(names))
    budgets = visit_budgets(config, joint)
    made = []
    for visits, shared, own in zip(budgets, joint, orders(1), strict=True):
        steps_per_visit = shared.mean_records / own.mean_records
        every = config.eval_every or shared.visits_per_epoch
        steps, between = (max(1, round(n * steps_per_visit)) for n in (visits, every))
        made.append(Course(own, steps, between))
    return made


def finetune(
    function: TunedFunction,
    course: Course,
    problem: Problem,
    prompts: PromptSource,
    test: Callable[[Tensor], Tested],
    config: TrainConfig,
    after_step: Callable[[StepResult, DevScore | None], None],
    *,
    task: int = 0,
) -> Finetuned[Tested]:
    """Train a fresh copy of the backbone on one task, and test it at its best.

    The test is made whenever the rule of selection would keep the weights, since a copy of the best
    weights to test in the end could be as large as the model. What it says decides nothing.

    Args:
        problem: asks ``function``.
        test: is given P, (R, S, H), of the present step.
        config: with the learning rate of the backbone.
        after_step: is told of each update, and of the score on dev where one was made.
        task: the row of P that is trained for.

    Raises:
        Diverged: the loss or its gradient is not finite any more.
        RuntimeError: the ranks' encoders have drifted apart.
    """
    order, steps = course.order, course.steps
    every = course.eval_every
    has_dev = problem.has_dev(task)
    selection = Selection((1, 0, 1), config.patience, config.selection)
    losses: list[float] = []
    records = 0
    for step in range(1, steps + 1):
        examples = order.chunk(step - 1)
        function.world.seed_noise(config.seed, order.task_id, "step", step)
        asked = prompts.encode()
        task_losses, gradient, tokens = loss_and_gradient(
            function, problem.batches(examples), asked
        )
        loss = float(task_losses[task])
        if not math.isfinite(loss) or not bool(gradient.isfinite().all()):
            rates = "--backbone_lr, or --lr" if gradient.numel() else "--backbone_lr"
            raise Diverged(
                f"the loss of {order.task_id} is {loss} at step {step}, or its gradient is not "
                f"finite: fine-tuning has diverged; start again with a lower {rates}"
            )
        progress = step - 1, steps, order.visits_per_epoch
        lr = learning_rate(config, *progress)
        function.step(lr)
        prompts.update(asked, gradient, *progress)
        losses.append(loss)
        records += len(examples)
        score = None
        if step == steps or (has_dev and step % every == 0):
            prompts.check()
            with torch.no_grad():
                present = prompts.encode()
            score = problem.score([task], present)[task]
            # The first of all scores is always kept.
            if selection.record(0, score, torch.empty(0, 1), step):
                tested = test(present)
        after_step(StepResult(step, loss, lr, len(examples), tokens), score)
        if selection.stopped[0]:
            break
    return Finetuned(tested, selection.best_visit[0], tuple(losses), records)


def values_of(result: StepResult, score: DevScore | None) -> dict[str, float]:
    """A step's values as curves have them."""
    values = {"train/loss": result.loss, "train/lr": result.lr}
    return values if score is None or not score.count else {**values, "dev/score": score.main}
