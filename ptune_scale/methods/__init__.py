"""Ways to ask a model for facts; each is one file with one function ``run(job)``.

majority.py             control: the relation's commonest training object
manual.py               the hand-written prompt
ptuning.py              trained prompts: slots alone
ptuning_anchored.py     slots in front of the manual prompt
ptuning_from_manual.py  slots that begin as the words of the manual prompt
prompts.py              what those three share
mp_ft.py                the backbone itself trained, on the manual prompt
ft.py                   the same, on the subject alone
finetune.py             what those two share
by_relation.py          results kept one relation after another
lpaqa.py                LPAQA's published prompts: the best of a relation, and all together
autoprompt_published.py AutoPrompt's published prompts, found for other models
autoprompt.py           words searched for on this very model
"""

from collections.abc import Callable

from ptune_scale.backbone import Backbone
from ptune_scale.config import PromptConfig
from ptune_scale.data.prepare import PreparedFacts
from ptune_scale.job import Job
from ptune_scale.methods import (
    autoprompt,
    autoprompt_published,
    ft,
    lpaqa,
    majority,
    manual,
    mp_ft,
    ptuning,
    ptuning_anchored,
    ptuning_from_manual,
)
from ptune_scale.methods.result import MethodResult
from ptune_scale.prompt_setup import PromptSetup

METHODS: dict[str, Callable[[Job], list[MethodResult]]] = {
    "majority": majority.run,
    "manual": manual.run,
    "ptuning": ptuning.run,
    "ptuning_anchored": ptuning_anchored.run,
    "ptuning_from_manual": ptuning_from_manual.run,
    "mp_ft": mp_ft.run,
    "ft": ft.run,
    "lpaqa": lpaqa.run,
    "autoprompt": autoprompt.run,
    "autoprompt_bert": autoprompt_published.run_bert,
    "autoprompt_roberta": autoprompt_published.run_roberta,
}
"""Every method by the name that ``--method`` takes."""

TUNE_BACKBONE = frozenset({"mp_ft", "ft"})
"""Those that train a copy of the backbone, which not every layout allows."""

SETUPS: dict[str, Callable[[PromptConfig, PreparedFacts, Backbone], PromptSetup]] = {
    "ptuning": ptuning.setup,
    "ptuning_anchored": ptuning_anchored.setup,
    "ptuning_from_manual": ptuning_from_manual.setup,
}
"""Of the methods that train prompts, what they train; known before any of them runs."""

__all__ = ["METHODS", "SETUPS", "TUNE_BACKBONE", "MethodResult"]
