"""The ways of P-tuning that are compared.

peft_documented              PEFT as its documentation has it, fp32
peft_same_settings_eager     PEFT in our dtype with attention spelled out
peft_same_settings_sdpa      PEFT in our dtype with PyTorch's attention
peft_grouped                 PEFT in our dtype, eager, facts of similar length together
reference_way                how the published P-tuning code works, fp32
ours                         this package as a long job runs; ours_NAME with a line of ``ABLATIONS``
"""

import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import torch

from ptune_scale.backbone.shortcuts import DEFAULT, Shortcuts
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.feed import Round
from ptune_scale.experiments.bench.peft_way import PeftWay
from ptune_scale.experiments.bench.reference_way import ReferenceWay
from ptune_scale.experiments.bench.rounds import (
    OURS,
    PEFT_DOCUMENTED,
    PEFT_GROUPED,
    PEFT_SAME_WAYS,
    Side,
)
from ptune_scale.parallel import TextLimit, parallelize
from ptune_scale.train.trainer import StepResult

MAIN = (
    PEFT_DOCUMENTED,
    *PEFT_SAME_WAYS,
    PEFT_GROUPED,
    "reference_way",
    OURS,
)


class Ours:
    """This package, as a job trains: a step is one event of a trainer that goes on for ever."""

    def __init__(self, name: str, case: Case) -> None:
        self.name = name
        self._case = case
        limit = TextLimit(case.model.text_cache, Path(tempfile.gettempdir()))
        texts = limit if case.text_cache else None
        self._function = parallelize(case.backbone, case.mesh, texts=texts)

    def start(self) -> None:
        self.trainer = self._case.trainer(self._function)
        self._steps = (e for e in self.trainer.train() if isinstance(e, StepResult))

    def step(self) -> StepResult:
        """One update."""
        return next(self._steps)

    def run(self, facts: Round) -> int:
        """As many steps as it takes to train on as many records.

        Raises:
            RuntimeError: these are not the records that the other sides were given.
        """
        given = (len(facts.rows), sum(len(row.ids) for row in facts.rows))
        count = tokens = 0
        while count < given[0]:
            event = self.step()
            count, tokens = count + event.records, tokens + event.tokens
        # With a budget of tokens, steps have other sizes.
        if not self._case.train.batch_tokens and (count, tokens) != given:
            raise RuntimeError(
                f"ours trained on {count} facts of {tokens} tokens in a round whose {given[0]} "
                f"facts have {given[1]}: the sides are not comparable"
            )
        return count


def _without(shortcut: str) -> Callable[[Case], Case]:
    return lambda case: replace(case, shortcuts=replace(case.shortcuts, **{shortcut: False}))


ABLATIONS: dict[str, Callable[[Case], Case]] = {
    "as_a_short_job": lambda case: replace(case, shortcuts=DEFAULT),
    **{f"{each.name}_off": _without(each.name) for each in fields(Shortcuts)},
    "other_attention": lambda case: replace(
        case, attention="eager" if case.attention == "sdpa" else "sdpa"
    ),
    "dtype_float32": lambda case: replace(case, model=replace(case.model, dtype="float32")),
    # 32 facts of LAMA have about as many.
    "batch_tokens_300": lambda case: replace(case, train=replace(case.train, batch_tokens=300)),
}
"""Ours with one thing switched off or exchanged, by name.

The ratio says what a part is worth together with what rests on it: without packing layers are not
prepared, and layers that are not prepared are neither compiled nor packed nor cut to the targets.
"""


def build(name: str, case: Case) -> Side:
    """A side with its model loaded.

    Raises:
        KeyError: no side has this name.
        UserError: the checkpoint does not fit.
    """
    if name == OURS:
        return Ours(name, case)
    if name.startswith(f"{OURS}_"):
        return Ours(name, ABLATIONS[name.removeprefix(f"{OURS}_")](case))
    if name == "reference_way":
        return ReferenceWay(name, case)
    dtype, attention = {
        PEFT_DOCUMENTED: (torch.float32, "sdpa"),
        PEFT_SAME_WAYS[0]: (case.dtype, "eager"),
        PEFT_SAME_WAYS[1]: (case.dtype, "sdpa"),
        PEFT_GROUPED: (case.dtype, "eager"),
    }[name]
    return PeftWay(name, case, dtype, attention, grouped=name == PEFT_GROUPED)
