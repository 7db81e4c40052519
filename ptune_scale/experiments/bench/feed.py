"""The records that ours takes next, for the other sides to train on the same in the same round.

Which records make up a step of ours is a function of the seed alone. So a second trainer, whose
frozen side computes nothing, tells what the first will take. Ours groups records of similar length;
other sides have no such order and get the round's records shuffled, as a data loader would give
them. Padding makes their batches larger for it, so PEFT is measured with grouped records as well.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ptune_scale.experiments.bench.case import Case
from ptune_scale.parallel import PromptFunction
from ptune_scale.task.example import Batch, Example
from ptune_scale.task.objective import Objective

Batches = list[list[Example]]


@dataclass(frozen=True)
class Round:
    """What all sides train on in a round.

    Attributes:
        steps: of ours, each with its rows.
        batches: the same rows, shuffled, in as many batches of the same sizes.
        by_length: the batches if rows of similar length are grouped.
    """

    steps: Batches
    batches: Batches
    by_length: Batches

    @property
    def rows(self) -> list[Example]:
        """All of the round."""
        return [row for step in self.steps for row in step]


class Feed:
    """Rounds for one measurement, in the order in which ours goes through its records."""

    def __init__(self, case: Case) -> None:
        self._silent = _Silent(case)
        self._events = case.trainer(cast(PromptFunction, self._silent)).train()
        self._random = random.Random(case.train.seed)

    def round(self, *, facts: int = 0, steps: int = 0) -> Round:
        """As many steps as it takes to train on so many records, or to take so many steps."""
        taken: Batches = []
        while len(taken) < steps or sum(map(len, taken)) < facts:
            next(self._events)
            taken.append(self._silent.taken())
        rows, sizes = [row for step in taken for row in step], list(map(len, taken))
        shuffled = self._random.sample(rows, len(rows))
        return Round(
            taken, _cut(shuffled, sizes), _cut(sorted(shuffled, key=lambda e: len(e.ids)), sizes)
        )


class _Silent:
    """A prompt function that notes what it is asked and computes nothing."""

    def __init__(self, case: Case) -> None:
        self.mesh = case.mesh
        self.world = self.mesh.world
        self._rows: list[Example] = []

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective
    ) -> tuple[Tensor, Tensor]:
        """Zeros, of the shapes that the real one returns."""
        self._rows += batch.examples
        prompts = prompts.detach()
        return torch.zeros(len(prompts), device=prompts.device), torch.zeros_like(prompts)

    def taken(self) -> list[Example]:
        rows, self._rows = self._rows, []
        return rows


def _cut(rows: Sequence[Example], sizes: Sequence[int]) -> Batches:
    ends = itertools.accumulate(sizes)
    return [list(rows[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
