"""Fine-tuning on one relation: the loop that moves the weights on the right of the waist.

It stands beside ``train``, which moves prompts, and takes its measure from it: a relation is shown
as many facts, in the order that its name and the seed give, and the state that is scored is chosen
by the same rule on the same development facts.

Shapes: R relations, F test facts, C sets of candidates, H embedding size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptune_scale.config import TrainConfig
from ptune_scale.data.batch import Example
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.parallel import TunedFunction
from ptune_scale.problem import FactProblem
from ptune_scale.schedule import learning_rate
from ptune_scale.selection import Selection
from ptune_scale.train import (
    Diverged,
    StepResult,
    facts_per_visit,
    tokens_per_visit,
    visit_budgets,
)


@dataclass(frozen=True)
class Course:
    """How long one relation is trained.

    Attributes:
        order: its facts, a whole step's at a time.
        steps: updates, if it does not stop early.
    """

    order: RelationOrder
    steps: int

    @property
    def facts(self) -> int:
        return round(self.steps * self.order.mean_facts)


@dataclass(frozen=True)
class Finetuned:
    """What came of fine-tuning on a relation.

    Attributes:
        ranks: (F, C) int64, of the test facts' answers, under the weights that were chosen.
        best_step: after which they were chosen.
        losses: of each step, in nats.
        facts: trained on, repetitions counted.
    """

    ranks: Tensor
    best_step: int
    losses: tuple[float, ...]
    facts: int


def courses(
    config: TrainConfig, names: Sequence[str], examples: Sequence[Sequence[Example]]
) -> list[Course]:
    """A course for each relation in which it is shown as many facts as a joint P-tuning shows it.

    There a step shares its batch out to several relations. Here it is one relation's, so that
    the steps are fewer in the same measure: visits x facts per visit / facts per step.
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
    return [
        Course(own, max(1, round(visits * shared.mean_facts / own.mean_facts)))
        for visits, shared, own in zip(budgets, joint, orders(1), strict=True)
    ]


def finetune(
    function: TunedFunction,
    relation: int,
    course: Course,
    prompts: Tensor,
    task: FactProblem,
    test: Callable[[], Tensor],
    config: TrainConfig,
    after_step: Callable[[StepResult], None],
) -> Finetuned:
    """Train a fresh copy of the backbone on one relation, and score it at its best.

    The test facts are scored whenever the rule of selection would keep the weights, since a copy
    of the best weights to score in the end could be as large as the model. What the test says
    decides nothing.

    Args:
        prompts: (R, 0, H), no prompt.
        test: ranks (F, C) of the test facts under the present weights.
        config: with the learning rate of the backbone.

    Raises:
        Diverged: the loss is not finite any more.
    """
    order, steps = course.order, course.steps
    every = config.eval_every or order.visits_per_epoch
    has_dev = bool(task.dev[relation])
    selection = Selection((1, 0, 1), config.patience, config.selection)
    losses: list[float] = []
    facts = 0
    ranks = torch.empty(0)
    for step in range(1, steps + 1):
        examples = order.chunk(step - 1)
        batch, objective = task.batch(examples)
        loss = float(function.loss_and_gradient(batch, prompts, objective)[0][relation])
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss of {order.relation_id} is {loss} at step {step}: fine-tuning has "
                "diverged; start again with a lower --backbone_lr"
            )
        lr = learning_rate(config, step - 1, steps, order.visits_per_epoch)
        function.step(lr)
        losses.append(loss)
        facts += len(examples)
        if step == steps or (has_dev and step % every == 0):
            score = task.score([relation], prompts)[relation]
            if selection.record(0, score, torch.empty(0, 1), step):
                ranks = test()
        after_step(StepResult(step, loss, lr, len(examples), int(batch.lengths.sum())))
        if selection.stopped[0]:
            break
    return Finetuned(ranks, selection.best_visit[0], tuple(losses), facts)
