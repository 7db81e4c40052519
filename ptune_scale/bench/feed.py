"""The facts that ours takes next, for the other sides to train on the same in the same round.

Which facts make up a step of ours is a function of the seed alone. So a second trainer, whose
frozen side computes nothing, tells what the first will take. Ours groups facts of similar length;
other sides have no such order and get the round's facts shuffled, as a data loader would give them.
Padding makes their batches larger for it, so PEFT is measured with grouped facts as well.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ptune_scale.data.batch import Batch, Example
from ptune_scale.job import Job
from ptune_scale.methods.prompts import build_trainer
from ptune_scale.parallel import Objective, PromptFunction
from ptune_scale.template import NO_SLOT


@dataclass(frozen=True)
class Round:
    """What all sides train on in a round.

    Attributes:
        steps: of ours, each with its facts.
        batches: the same facts, shuffled, in as many batches of the same sizes.
    """

    steps: list[list[Example]]
    batches: list[list[Example]]

    @property
    def by_length(self) -> list[list[Example]]:
        """The batches if facts of similar length are grouped; a round's longest come last."""
        everything = sorted((e for batch in self.batches for e in batch), key=lambda e: len(e.ids))
        ends = itertools.accumulate(map(len, self.batches))
        return [
            everything[end - len(batch) : end]
            for end, batch in zip(ends, self.batches, strict=True)
        ]

    @property
    def facts(self) -> int:
        return sum(map(len, self.steps))

    @property
    def tokens(self) -> int:
        """Tokens of all rows as ours has them."""
        return sum(len(example.ids) for step in self.steps for example in step)

    @property
    def text_tokens(self) -> int:
        """Tokens that are not prompt slots: of subjects and of the template's words."""
        return sum(text_length(example) for step in self.steps for example in step)


class Feed:
    """Rounds for one measurement, in the order in which ours goes through its facts.

    Args:
        job: of ours; nothing of its model is used.
    """

    def __init__(self, job: Job) -> None:
        self._silent = _Silent(job.function)
        trainer = build_trainer(replace(job, function=self._silent), job.setups["ptuning"])
        self._events = trainer.train()
        self._random = random.Random(job.config.train.seed)

    def steps(self, count: int) -> Round:
        """The next so many steps."""
        return self._round(lambda steps: len(steps) >= count)

    def facts(self, count: int) -> Round:
        """As many steps as it takes to train on so many facts."""
        return self._round(lambda steps: sum(map(len, steps)) >= count)

    def _round(self, is_enough: Callable[[list[list[Example]]], bool]) -> Round:
        steps: list[list[Example]] = []
        while not is_enough(steps):
            next(self._events)
            steps.append([e for batch in self._silent.taken() for e in _rows(batch)])
        everything = [example for step in steps for example in step]
        self._random.shuffle(everything)
        batches, start = [], 0
        for step in steps:
            batches.append(everything[start : start + len(step)])
            start += len(step)
        return Round(steps, batches)


class _Silent:
    """A prompt function that notes what it is asked and computes nothing."""

    def __init__(self, function: PromptFunction) -> None:
        self._function = function
        self._batches: list[Batch] = []

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective
    ) -> tuple[Tensor, Tensor]:
        """Zeros, of the shapes that the real one returns."""
        self._batches.append(batch)
        prompts = prompts.detach()
        return torch.zeros(len(prompts), device=prompts.device), torch.zeros_like(prompts)

    def taken(self) -> list[Batch]:
        batches, self._batches = self._batches, []
        return batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def _rows(batch: Batch) -> list[Example]:
    return [
        Example(relation, tuple(ids[:length]), tuple(slots[:length]), tuple(targets), label)
        for relation, ids, slots, length, targets, label in zip(
            batch.relations.tolist(),
            batch.ids.tolist(),
            batch.slots.tolist(),
            batch.lengths.tolist(),
            batch.targets.tolist(),
            batch.labels.tolist(),
            strict=True,
        )
    ]


def text_length(example: Example) -> int:
    """Tokens of an example that are not prompt slots."""
    return sum(slot == NO_SLOT for slot in example.slots)
