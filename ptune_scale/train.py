"""P-tuning: the training loop over the left side of the waist.

A step encodes P once, asks the frozen side for dP, and updates the encoders that took part. The
loop is a generator: between two events all state is consistent and can be saved.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ptune_scale.config import TrainConfig
from ptune_scale.data.sampler import RelationOrder, choose_relations
from ptune_scale.errors import UserError
from ptune_scale.parallel import EncoderPlacement, PromptFunction
from ptune_scale.problem import Problem
from ptune_scale.prompt import PromptBank
from ptune_scale.schedule import learning_rate
from ptune_scale.selection import DevScore, Selection
from ptune_scale.trainable import TrainableEncoders


@dataclass(frozen=True)
class StepResult:
    """One update.

    Attributes:
        step: its number, counted from 1.
        loss: mean over the step's relations of their mean cross-entropy, in nats.
        facts, tokens: size of the global batch, padding not counted.
    """

    step: int
    loss: float
    lr: float
    facts: int
    tokens: int


@dataclass(frozen=True)
class Evaluation:
    """Development scores of the relations that were due after a step."""

    step: int
    scores: dict[int, DevScore]


class Diverged(UserError):
    """The loss or its gradient is not finite any more; nothing was updated by it.

    The same run would come here again, for a seed leaves nothing to chance: only other settings
    help.
    """


class Trainer:
    """Trains the prompts of all relations of a job in one run.

    Args:
        orders: training data of each relation, in the bank's order.
        problem: makes batches of them, and scores prompts.
        placement: says who holds which of the bank's groups; None where they are replicated.

    Attributes:
        is_whole: the state is that after a whole number of updates, so that it may be saved even
            if an error ended the training.
    """

    def __init__(
        self,
        bank: PromptBank,
        function: PromptFunction,
        orders: Sequence[RelationOrder],
        problem: Problem,
        config: TrainConfig,
        placement: EncoderPlacement | None = None,
    ) -> None:
        if placement is None:
            placement = EncoderPlacement.build("replicated", function.mesh, len(bank.members))
        self.bank = bank
        self.encoders = TrainableEncoders(bank, placement, config)
        self.function = function
        self.orders = orders
        self.problem = problem
        self.config = config
        self.budgets = visit_budgets(config, orders)
        self.selection = Selection(bank.shape, config.patience, config.selection)
        self.visits = [0] * len(orders)
        self.losses: list[float] = []
        self.due: list[int] = []
        self.is_whole = True

    @property
    def step(self) -> int:
        """Number of updates made so far."""
        return len(self.losses)

    @property
    def planned_steps(self) -> int:
        """Steps of the whole run if no relation stops early."""
        return math.ceil(sum(self.budgets) / relations_per_step(self.config, len(self.orders)))

    def facts_in(self, visits: Sequence[int]) -> int:
        """About how many facts so many visits to each relation hold, exact for whole epochs."""
        pairs = zip(visits, self.orders, strict=True)
        return round(sum(count * order.mean_facts for count, order in pairs))

    def train(self) -> Iterator[StepResult | Evaluation]:
        """Run to the end, from wherever the state is.

        Raises:
            Diverged: the loss is not finite any more.
            RuntimeError: the ranks' encoders have drifted apart.
        """
        while True:
            if self.due:
                yield self._evaluate()
            relations = self._next_relations()
            if not relations:
                return
            yield self._update(relations)

    def _next_relations(self) -> list[int]:
        eligible = [
            r
            for r, visits in enumerate(self.visits)
            if visits < self.budgets[r] and not self.selection.stopped[r]
        ]
        count = relations_per_step(self.config, len(self.orders))
        return choose_relations(self.visits, eligible, count, self.config.seed)

    def _update(self, relations: list[int]) -> StepResult:
        examples = [e for r in relations for e in self.orders[r].chunk(self.visits[r])]
        batch, objective = self.problem.batch(examples)
        prompts = self.encoders.encode(relations)
        losses, gradient = self.function.loss_and_gradient(batch, prompts, objective)
        loss = float(losses.sum()) / len(relations)
        if not math.isfinite(loss) or not bool(gradient.isfinite().all()):
            what = f"loss is {loss}"
            if math.isfinite(loss):
                what = f"gradient of a loss of {loss} is not finite"
            raise Diverged(
                f"the {what} at step {self.step + 1}: training has diverged; "
                "start again with a lower --lr"
            )
        rates = {group: self._group_lr(group) for group in self.bank.active_groups(relations)}
        self.is_whole = False
        self.encoders.update(prompts, gradient, rates)
        for relation in relations:
            self.visits[relation] += 1
        self.losses.append(loss)
        self.due = [r for r in relations if self._is_due(r)]
        self.is_whole = True
        lr = max(rates.values())
        return StepResult(self.step, loss, lr, len(examples), int(batch.lengths.sum()))

    def _group_lr(self, group: int) -> float:
        members = self.bank.members[group]
        return learning_rate(
            self.config,
            sum(self.visits[r] for r in members),
            sum(self.budgets[r] for r in members),
            sum(self.orders[r].visits_per_epoch for r in members),
        )

    def _is_due(self, relation: int) -> bool:
        visits = self.visits[relation]
        every = self.config.eval_every or self.orders[relation].visits_per_epoch
        is_last = visits == self.budgets[relation]
        if self.config.selection == "reference" and is_last and visits > every:
            return False  # the published code scores at the start of an epoch, never the last one
        return visits % every == 0 or is_last

    def _evaluate(self) -> Evaluation:
        relations = self.due
        self.encoders.check_replicas(relations)
        with torch.no_grad():
            prompts = self.encoders.encode(relations)
        scores = self.problem.score(relations, prompts)
        rows = prompts.cpu()
        self.is_whole = False
        for r, score in scores.items():
            self.selection.record(r, score, rows[r], self.visits[r])
        self.due = []
        self.is_whole = True
        return Evaluation(self.step, scores)

    def state_dict(self) -> dict[str, Any]:
        """What the rest of training depends on besides the encoders; the same everywhere."""
        return {
            "selection": self.selection.state_dict(),
            "visits": list(self.visits),
            "losses": list(self.losses),
            "due": list(self.due),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.selection.load_state_dict(state["selection"])
        self.visits = list(state["visits"])
        self.losses = list(state["losses"])
        self.due = list(state["due"])


def relations_per_step(config: TrainConfig, num_relations: int) -> int:
    """How many relations share a step: as configured, but no more than there are."""
    most = min(config.relations_per_batch, num_relations)
    return most if config.batch_tokens else min(most, config.batch_size)


def facts_per_visit(config: TrainConfig, num_relations: int) -> int:
    """How many facts of a relation a step takes where facts are counted."""
    return max(1, config.batch_size // relations_per_step(config, num_relations))


def tokens_per_visit(config: TrainConfig, num_relations: int) -> int | None:
    """How many tokens the facts of a relation may have in a step; None where facts are counted."""
    if not config.batch_tokens:
        return None
    return config.batch_tokens // relations_per_step(config, num_relations)


def visit_budgets(config: TrainConfig, orders: Sequence[RelationOrder]) -> list[int]:
    """How many visits each relation gets; with max_steps all get the same, to within one."""
    if config.max_steps == 0:
        return [config.max_epochs * order.visits_per_epoch for order in orders]
    total = config.max_steps * relations_per_step(config, len(orders))
    base, rest = divmod(total, len(orders))
    return [base + (index < rest) for index in range(len(orders))]


def with_default_steps(config: TrainConfig, num_relations: int) -> TrainConfig:
    """Replace max_steps -1 by a number that grows with the relations."""
    if config.max_steps >= 0:
        return config
    return replace(config, max_steps=max(480, 40 * num_relations))
