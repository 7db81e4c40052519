"""P-tuning: the training loop over the left side of the waist.

A step encodes P once, asks the frozen side for dP, and updates the encoders that took part. The
loop is a generator: between two events all state is consistent and can be saved.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.parallel import EncoderPlacement, PromptFunction
from ptune_scale.prompt.bank import PromptBank
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import Objective
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.halving import Halving
from ptune_scale.train.order import TaskOrder, choose_tasks
from ptune_scale.train.problem import Problem
from ptune_scale.train.schedule import learning_rate, tasks_per_step, visit_budgets
from ptune_scale.train.selection import DevScore, Selection
from ptune_scale.train.trainable import TrainableEncoders

SPENT = (
    "records",
    "tokens",
    "training_seconds",
    "dev_evaluation_seconds",
    "cpu_seconds_of_this_rank",
)
"""What is counted of a training, by whoever runs it."""


@dataclass(frozen=True)
class StepResult:
    """One update.

    Attributes:
        step: its number, counted from 1.
        loss: mean over the step's tasks of their mean cross-entropy, in nats.
        records, tokens: size of the global batch, padding not counted.
        task_losses: the cross-entropy of each of these tasks.
    """

    step: int
    loss: float
    lr: float
    records: int
    tokens: int
    task_losses: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Development scores of the tasks that were due after a step."""

    step: int
    scores: dict[int, DevScore]


class Diverged(UserError):
    """The loss or its gradient is not finite any more; nothing was updated by it.

    The same run would come here again, for a seed leaves nothing to chance: only other settings
    help.
    """


class Trainer:
    """Trains the prompts of all tasks of a job in one run.

    Args:
        orders: training data of each task, in the bank's order.
        problem: makes batches of them, and scores prompts.
        placement: says who holds which of the bank's groups; None where they are replicated.
        settings: of each of the bank's groups, where they differ: its rate, its schedule, its
            decay; None for those of ``config``.
        halving: where rows compete, which of them still train.

    Attributes:
        scored: steps, tasks and scores of all evaluations on dev.
        is_whole: the state is that after a whole number of updates, so that it may be saved even
            if an error ended the training.
    """

    def __init__(
        self,
        bank: PromptBank,
        function: PromptFunction,
        orders: Sequence[TaskOrder],
        problem: Problem,
        config: TrainConfig,
        placement: EncoderPlacement | None = None,
        *,
        settings: Sequence[TrainConfig] | None = None,
        halving: Halving | None = None,
    ) -> None:
        if placement is None:
            placement = EncoderPlacement.build("replicated", function.mesh, len(bank.members))
        self.bank = bank
        self.settings = settings or [config] * len(bank.members)
        self.halving = halving
        self.encoders = TrainableEncoders(bank, placement, self.settings)
        self.function = function
        self.orders = orders
        self.problem = problem
        self.config = config
        self.budgets = halving.row_budgets if halving else visit_budgets(config, orders)
        self.selection = Selection(bank.shape, config.patience, config.selection)
        self.visits = [0] * len(orders)
        self.losses: list[float] = []
        self.due: list[int] = []
        # Flat, so that a saved one can be compared with one that is empty.
        self.scored: dict[str, list[Any]] = {"step": [], "task": [], "score": []}
        # In the runs before this one too.
        self.spent = dict.fromkeys(SPENT, 0.0)
        self.is_whole = True

    @property
    def step(self) -> int:
        """Number of updates made so far."""
        return len(self.losses)

    def dev_curve(self, task: int) -> list[list[float]]:
        """Steps and scores of a task's evaluations on dev."""
        steps, tasks, scores = (self.scored[name] for name in ("step", "task", "score"))
        found = zip(steps, tasks, scores, strict=True)
        return [[step, score] for step, r, score in found if r == task]

    @property
    def planned_steps(self) -> int:
        """Steps of the whole run if no task stops early."""
        return math.ceil(sum(self.planned_visits) / tasks_per_step(self.config, len(self.orders)))

    @property
    def planned_visits(self) -> Sequence[float]:
        """Visits to each task, or row that competes for one, if none stops early of itself."""
        return self.halving.planned_visits() if self.halving else self.budgets

    def records_in(self, visits: Sequence[float]) -> int:
        """About how many records so many visits to each task hold, exact for whole epochs."""
        pairs = zip(visits, self.orders, strict=True)
        return round(sum(count * order.mean_records for count, order in pairs))

    def train(self) -> Iterator[StepResult | Evaluation]:
        """Run to the end, from wherever the state is.

        Raises:
            Diverged: the loss is not finite any more.
            RuntimeError: the ranks' encoders have drifted apart.
        """
        while True:
            if self.due:
                yield self.evaluate()
            tasks = self.next_tasks()
            if not tasks:
                return
            if (result := self._update(tasks)) is not None:
                yield result

    def next_tasks(self) -> list[int]:
        """The tasks of the next step; none where training has come to its end."""
        eligible = {
            r
            for r, visits in enumerate(self.visits)
            if visits < self.budgets[r] and not self.selection.stopped[r] and self._competes(r)
        }
        count = tasks_per_step(self.config, len(self.orders))
        turns = self.halving.turns if self.halving else [range(len(self.orders))]
        waiting = [turn for turn in turns if eligible.intersection(turn)]
        if not waiting:
            return []
        # Rows that compete never share a step: each setting trains as it would by itself.
        turn = min(waiting, key=lambda rows: min(self.visits[r] for r in eligible & set(rows)))
        places = [place for place, r in enumerate(turn) if r in eligible]
        visits, seed = [self.visits[r] for r in turn], self._seed_of(turn)
        return [turn[place] for place in choose_tasks(visits, places, count, seed)]

    def _competes(self, row: int) -> bool:
        return self.halving is None or not self.halving.dropped[row]

    def _seed_of(self, turn: Sequence[int]) -> int:
        """Which of the turn's tasks comes first among equals is left to it."""
        return self.settings[self.bank.active_groups(turn)[0]].seed

    def _update(self, tasks: list[int]) -> StepResult | None:
        """Make a step; None where rows that compete diverged, and were dropped instead."""
        questions = self.draw(tasks)
        # Dropout's masks are a function of the step, so that a resumed run draws the same.
        self.function.world.seed_noise(self.config.seed, "step", self.step)
        prompts = self.encoders.encode(tasks)
        losses, gradient, tokens = loss_and_gradient(
            self.function, self.problem.batches(questions), prompts
        )
        return self.learn(tasks, prompts, losses, gradient, records=len(questions), tokens=tokens)

    def draw(self, tasks: Sequence[int]) -> list[Any]:
        """The questions that these tasks are visited with next."""
        return [e for r in tasks for e in self.orders[r].chunk(self.visits[r])]

    def learn(
        self,
        tasks: Sequence[int],
        prompts: Tensor,
        losses: Tensor,
        gradient: Tensor,
        *,
        records: int,
        tokens: int,
    ) -> StepResult | None:
        """Make a step of what the frozen side said of the questions that were drawn.

        Args:
            prompts: (R, S, H), what ``encode`` returned.
            losses: (R,), of the tasks.
            gradient: (R, S, H), dP.
            records, tokens: how many there were.

        Returns:
            None where rows that compete diverged, and were dropped instead.

        Raises:
            Diverged: a loss, or its gradient, is not finite.
        """
        loss = float(losses.sum()) / len(tasks)
        # Asked for as lists: a GPU is waited for once for all tasks, not for each.
        finite = (losses.isfinite() & gradient.isfinite().flatten(1).all(1)).tolist()
        of_each = losses.tolist()
        wild = [r for r in tasks if not finite[r]]
        if wild and self.halving and self.halving.drop(wild):
            return None
        if not math.isfinite(loss) or not all(finite):
            what = f"loss is {loss}"
            if math.isfinite(loss):
                what = f"gradient of a loss of {loss} is not finite"
            raise Diverged(
                f"the {what} at step {self.step + 1}: training has diverged; "
                "start again with a lower --lr"
            )
        rates = {group: self._group_lr(group) for group in self.bank.active_groups(tasks)}
        self.is_whole = False
        self.encoders.update(prompts, gradient, rates)
        for task in tasks:
            self.visits[task] += 1
        self.losses.append(loss)
        self.due = [r for r in tasks if self._is_due(r)]
        self.is_whole = True
        lr = max(rates.values())
        of_task = {r: of_each[r] for r in tasks}
        return StepResult(self.step, loss, lr, records, tokens, of_task)

    def _group_lr(self, group: int) -> float:
        # A shared encoder's schedule is that of the tasks that it still trains for.
        members = [r for r in self.bank.members[group] if self._competes(r)]
        return learning_rate(
            self.settings[group],
            sum(self.visits[r] for r in members),
            sum(self.budgets[r] for r in members),
            sum(self.orders[r].visits_per_epoch for r in members),
        )

    def _is_due(self, task: int) -> bool:
        visits = self.visits[task]
        every = self.config.eval_every or self.orders[task].visits_per_epoch
        is_last = visits == self.budgets[task]
        is_scored = self.problem.has_dev(task)
        if self.config.selection == "reference" and is_scored and is_last and visits > every:
            return False  # the published code scores at the start of an epoch, never the last one
        return visits % every == 0 or is_last

    def evaluate(self) -> Evaluation:
        """Score the tasks that are due on dev, and keep their prompts if they are good."""
        tasks = self.due
        self.encoders.check_replicas(tasks)
        with torch.no_grad():
            prompts = self.encoders.encode(tasks)
        scores = self.problem.score(tasks, prompts)
        rows = prompts.cpu()
        self.is_whole = False
        for r, score in scores.items():
            self.selection.record(r, score, rows[r], self.visits[r])
            if score.count:
                found = {"step": self.step, "task": r, "score": score.main}
                for name, value in found.items():
                    self.scored[name].append(value)
        if self.halving:
            self.halving.settle(self.visits, self.selection)
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
            "scored": {name: list(values) for name, values in self.scored.items()},
            "spent": dict(self.spent),
            **({"halving": self.halving.state_dict()} if self.halving else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.selection.load_state_dict(state["selection"])
        self.visits = list(state["visits"])
        self.losses = list(state["losses"])
        self.due = list(state["due"])
        self.scored = {name: list(values) for name, values in state["scored"].items()}
        self.spent = dict(state["spent"])
        if self.halving:
            self.halving.load_state_dict(state["halving"])


def loss_and_gradient(
    function: PromptFunction, batches: Sequence[tuple[Batch, Objective]], prompts: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Losses (R,) and dP (R, S, H) of a step's batches together, and how many tokens they have."""
    losses, gradient = prompts.new_zeros(prompts.shape[0]), prompts.new_zeros(prompts.shape)
    for batch, objective in batches:
        found = function.loss_and_gradient(batch, prompts, objective)
        losses, gradient = losses + found[0], gradient + found[1]
    return losses, gradient, sum(batch.num_tokens for batch, _ in batches)
