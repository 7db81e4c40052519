"""The ways of P-tuning that are compared.

peft_documented              PEFT as its documentation has it, fp32
peft_same_settings_eager     PEFT in our dtype with attention spelled out
peft_same_settings_sdpa      PEFT in our dtype with PyTorch's attention
peft_grouped_by_length       PEFT in our dtype, eager, facts of similar length together
reference_way                how the published P-tuning code works, fp32
ours                         this package at its fastest; ours_NAME with an entry of ``ablations``

side.py           what all have in common; the model as Hugging Face loads it
peft_way.py       PEFT
reference_way.py  the published code's way
ours.py           this package
"""

from collections.abc import Callable

import torch

from ptune_scale.bench.ablations import ABLATIONS
from ptune_scale.bench.case import Case
from ptune_scale.bench.sides.ours import Ours
from ptune_scale.bench.sides.peft_way import PeftWay
from ptune_scale.bench.sides.reference_way import ReferenceWay
from ptune_scale.bench.sides.side import Side

OURS = "ours"
PEFT_DOCUMENTED = "peft_documented"
PEFT_SAME = "peft_same_settings"
PEFT_SAME_WAYS = (f"{PEFT_SAME}_eager", f"{PEFT_SAME}_sdpa")
"""Of these, ours is compared with the faster one."""
REFERENCE = "reference_way"
OURS_BY_DEFAULT = f"{OURS}_defaults"
PEFT_GROUPED = "peft_grouped_by_length"
MAIN = (PEFT_DOCUMENTED, *PEFT_SAME_WAYS, PEFT_GROUPED, REFERENCE, OURS_BY_DEFAULT, OURS)

_SIDES: dict[str, Callable[[str, Case], Side]] = {
    PEFT_DOCUMENTED: lambda name, case: PeftWay(name, case, torch.float32, "sdpa"),
    PEFT_SAME_WAYS[0]: lambda name, case: PeftWay(name, case, case.dtype, "eager"),
    PEFT_SAME_WAYS[1]: lambda name, case: PeftWay(name, case, case.dtype, "sdpa"),
    PEFT_GROUPED: lambda name, case: PeftWay(name, case, case.dtype, "eager", grouped=True),
    REFERENCE: ReferenceWay,
    OURS: Ours,
} | {
    f"{OURS}_{ablation}": lambda name, case, flags=flags: Ours(name, case, flags)
    for ablation, flags in ABLATIONS.items()
}


def build(name: str, case: Case) -> Side:
    """A side with its model loaded.

    Raises:
        KeyError: no side has this name.
        UserError: facts, template or checkpoint do not fit.
    """
    return _SIDES[name](name, case)


__all__ = [
    "MAIN",
    "OURS",
    "PEFT_DOCUMENTED",
    "PEFT_SAME",
    "PEFT_SAME_WAYS",
    "REFERENCE",
    "Side",
    "build",
]
