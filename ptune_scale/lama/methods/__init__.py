"""Ways to ask a model for facts; ``METHODS`` has a record of each.

manual.py      the commonest object, the hand-written prompt, and that behind training facts
prompts.py     trained prompts: slots alone, behind facts (demonstrations.py), before the manual
               prompt, begun as its words, or with settings that are searched for
ensemble.py    several of them asked together (mixture.py)
finetune.py    the backbone itself trained, on the manual prompt or on the subject alone
lpaqa.py       LPAQA's published prompts: the best of a relation, and all together (mixture.py)
autoprompt.py  words searched for on this very model (trigger_search.py)
controls.py    prompts tuned where there is nothing to be known
wordings.py    how each of them words a question
done.py        results kept one relation after another
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import Registry

if TYPE_CHECKING:
    from ptune_scale.lama.methods.wordings import LamaMethod

METHODS: "Registry[LamaMethod]" = Registry(
    __name__,
    {
        "majority": "manual.MAJORITY",
        "manual": "manual.MANUAL",
        "incontext": "manual.INCONTEXT",
        "incontext_retrieved": "manual.INCONTEXT_RETRIEVED",
        "ptuning": "prompts.PTUNING",
        "ptuning_search": "prompts.SEARCH",
        "ptuning_demonstrated": "prompts.DEMONSTRATED",
        "ptuning_retrieved": "prompts.RETRIEVED",
        "ptuning_anchored": "prompts.ANCHORED",
        "ptuning_from_manual": "prompts.FROM_MANUAL",
        "ptuning_ensemble": "ensemble.ENSEMBLE",
        "mp_ft": "finetune.MP_FT",
        "ft": "finetune.FT",
        "lpaqa": "lpaqa.LPAQA",
        "autoprompt": "autoprompt.AUTOPROMPT",
        "random_model": "controls.RANDOM_MODEL",
        "shuffled_objects": "controls.SHUFFLED_OBJECTS",
    },
)
"""Every method by the name that ``--method`` takes."""

TRAINED_CONTROLS = ("random_model", "shuffled_objects")
"""Those that ``--controls on`` adds: what prompts learn where there is nothing to be known."""
