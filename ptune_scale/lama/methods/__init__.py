"""Ways to ask a model for facts; ``METHODS`` has a record of each.

manual.py      the commonest object, and the hand-written prompt
prompts.py     trained prompts: slots alone, before the manual prompt, or begun as its words
finetune.py    the backbone itself trained, on the manual prompt or on the subject alone
lpaqa.py       LPAQA's published prompts: the best of a relation, and all together (mixture.py)
autoprompt.py  words searched for on this very model (trigger_search.py)
wordings.py    how each of them words a question
done.py        results kept one relation after another
"""

from dataclasses import dataclass

from ptune_scale.lama.methods import autoprompt, finetune, lpaqa, manual, prompts, wordings
from ptune_scale.lama.methods.wordings import Worded
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.methods import Method


@dataclass(frozen=True)
class LamaMethod(Method[MethodResult]):
    """A way to ask for facts.

    Attributes:
        worded: how it words a question, where that does not depend on what it finds.
        takes_phrases: it can be asked for objects of several tokens.
    """

    worded: Worded | None = None
    takes_phrases: bool = True


METHODS: dict[str, LamaMethod] = {
    method.name: method
    for method in (
        LamaMethod("majority", manual.run_majority, "control: the commonest training object"),
        LamaMethod("manual", manual.run_manual, "the hand-written prompt", worded=wordings.manual),
        LamaMethod("ptuning", prompts.run_ptuning, "tuned slots alone", worded=wordings.tuned),
        LamaMethod(
            "ptuning_anchored",
            prompts.run_anchored,
            "tuned slots before the manual prompt",
            worded=wordings.anchored,
        ),
        LamaMethod(
            "ptuning_from_manual",
            prompts.run_from_manual,
            "tuned slots that begin as the manual prompt",
            worded=wordings.from_manual,
        ),
        LamaMethod(
            "mp_ft",
            finetune.run_mp_ft,
            "fine-tuned on the manual prompt",
            tunes_backbone=True,
            worded=wordings.on_manual,
        ),
        LamaMethod(
            "ft",
            finetune.run_ft,
            "fine-tuned on the subject alone",
            tunes_backbone=True,
            worded=wordings.subject_alone,
        ),
        LamaMethod("lpaqa", lpaqa.run, "LPAQA's published prompts", takes_phrases=False),
        LamaMethod(
            "autoprompt",
            autoprompt.run,
            "words searched for",
            worded=wordings.searched,
            takes_phrases=False,
        ),
    )
}
"""Every method by the name that ``--method`` takes."""
