"""Fine-tuning on one relation or task: the loop that moves the weights on the right of the waist.

It stands beside ``train``, which moves prompts alone, and takes its measure from it: a relation is
shown as many facts, in the order that its name and the seed give, and the state that is scored is
chosen by the same rule on the same development examples. Prompts may be trained beside the weights.

Shapes: R relations, S prompt slots, H embedding size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ptune_scale.config import TrainConfig
from ptune_scale.data.batch import Example
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.parallel import TunedFunction
from ptune_scale.problem import Problem
from ptune_scale.prompt_source import PromptSource
from ptune_scale.schedule import learning_rate
from ptune_scale.selection import Selection
from ptune_scale.train import (
    Diverged,
    StepResult,
    facts_per_visit,
    tokens_per_visit,
    visit_budgets,
)

Tested = TypeVar("Tested")
"""What a test under the present weights says."""


@dataclass(frozen=True)
class Course:
    """How long one relation is trained.

    Attributes:
        order: its examples, a whole step's at a time.
        steps: updates, if it does not stop early.
        eval_every: steps between evaluations on dev.
    """

    order: RelationOrder
    steps: int
    eval_every: int

    @property
    def facts(self) -> int:
        return round(self.steps * self.order.mean_facts)


@dataclass(frozen=True)
class Finetuned(Generic[Tested]):
    """What came of fine-tuning on a relation.

    Attributes:
        tested: what the test said of the weights and prompts that were chosen.
        best_step: after which they were chosen.
        losses: of each step, in nats.
        facts: trained on, repetitions counted.
    """

    tested: Tested
    best_step: int
    losses: tuple[float, ...]
    facts: int


def courses(
    config: TrainConfig, names: Sequence[str], examples: Sequence[Sequence[Example]]
) -> list[Course]:
    """A course for each relation in which it is shown as many facts as a joint P-tuning shows it.

    There a step shares its batch out to several relations. Here it is one relation's, so that
    the steps are fewer in the same measure: visits x facts per visit / facts per step. So are those
    between evaluations, that there are as many.
    """

    def orders(num_relations: int) -> list[RelationOrder]:
        size = facts_per_visit(config, num_relations)
        tokens = tokens_per_visit(config, num_relations)
        return [
            RelationOrder(name, part, size, config.seed, tokens_per_visit=tokens)
            for name, part in zip(names, examples, strict=True)
        ]

    joint = orders(len(names))
    budgets = visit_budgets(config, joint)
    made = []
    for visits, shared, own in zip(budgets, joint, orders(1), strict=True):
        steps_per_visit = shared.mean_facts / own.mean_facts
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
    after_step: Callable[[StepResult], None],
    *,
    relation: int = 0,
) -> Finetuned[Tested]:
    """Train a fresh copy of the backbone on one relation, and test it at its best.

    The test is made whenever the rule of selection would keep the weights, since a copy of the best
    weights to test in the end could be as large as the model. What it says decides nothing.

    Args:
        problem: asks ``function``.
        test: is given P, (R, S, H), of the present step.
        config: with the learning rate of the backbone.
        relation: the row of P that is trained for.

    Raises:
        Diverged: the loss or its gradient is not finite any more.
        RuntimeError: the ranks' encoders have drifted apart.
    """
    order, steps = course.order, course.steps
    every = course.eval_every
    has_dev = problem.has_dev(relation)
    selection = Selection((1, 0, 1), config.patience, config.selection)
    losses: list[float] = []
    facts = 0
    for step in range(1, steps + 1):
        examples = order.chunk(step - 1)
        batch, objective = problem.batch(examples)
        asked = prompts.encode()
        row_losses, gradient = function.loss_and_gradient(batch, asked, objective)
        loss = float(row_losses[relation])
        if not math.isfinite(loss) or not bool(gradient.isfinite().all()):
            rates = "--backbone_lr, or --lr" if gradient.numel() else "--backbone_lr"
            raise Diverged(
                f"the loss of {order.relation_id} is {loss} at step {step}, or its gradient is not "
                f"finite: fine-tuning has diverged; start again with a lower {rates}"
            )
        progress = step - 1, steps, order.visits_per_epoch
        lr = learning_rate(config, *progress)
        function.step(lr)
        prompts.update(asked, gradient, *progress)
        losses.append(loss)
        facts += len(examples)
        if step == steps or (has_dev and step % every == 0):
            prompts.check()
            with torch.no_grad():
                present = prompts.encode()
            score = problem.score([relation], present)[relation]
            # The first of all scores is always kept.
            if selection.record(0, score, torch.empty(0, 1), step):
                tested = test(present)
        after_step(StepResult(step, loss, lr, len(examples), int(batch.lengths.sum())))
        if selection.stopped[0]:
            break
    return Finetuned(tested, selection.best_visit[0], tuple(losses), facts)
