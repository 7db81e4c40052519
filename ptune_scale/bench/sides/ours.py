"""This package, as the LAMA job trains: a step is one event of its trainer."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ptune_scale.bench import work
from ptune_scale.bench.case import Case
from ptune_scale.bench.feed import Round
from ptune_scale.bench.flops import ModelSizes, Work, operations
from ptune_scale.bench.rounds import Done
from ptune_scale.methods.prompts import build_trainer
from ptune_scale.train import StepResult, Trainer


class Ours:
    """A trainer that goes on for ever.

    Args:
        overrides: settings by the names of the LAMA job's flags, over those of the case.
    """

    def __init__(self, name: str, case: Case, overrides: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self._case = case.with_flags(**(overrides or {}))
        self._is_plain = not overrides
        self.dtype: torch.dtype = self._case.dtype
        self._sizes = ModelSizes.of(case.backbone.empty_model())
        self._job = self._case.job()
        self.backbone: nn.Module = self._job.function.engine.lm

    def start(self) -> None:
        self.trainer: Trainer = build_trainer(self._job, self._job.setups["ptuning"])
        self._events: Iterator[object] = self.trainer.train()

    def step(self) -> StepResult:
        """One update."""
        for event in self._events:
            if isinstance(event, StepResult):
                return event
        raise RuntimeError("training has come to an end")

    def run(self, facts: Round) -> Done:
        """As many steps as it takes to train on as many facts.

        Raises:
            RuntimeError: these are not the facts that the other sides were given.
        """
        count = tokens = 0
        while count < facts.facts:
            event = self.step()
            count, tokens = count + event.facts, tokens + event.tokens
        if self._is_plain and (count, tokens) != (facts.facts, facts.tokens):
            raise RuntimeError(
                f"ours trained on {count} facts of {tokens} tokens in a round whose {facts.facts} "
                f"facts have {facts.tokens}: the sides are not comparable"
            )
        text = tokens - count * self._case.template.num_slots
        return Done(count, tokens, text, self._needed(facts) * count / facts.facts)

    def _needed(self, facts: Round) -> float:
        """Operations that P-tuning on these facts needs at least; see ``work.of_least``."""
        total = sum((work.of_least(s, self._sizes.layers) for s in facts.steps), Work())
        return operations(self._sizes, total)
