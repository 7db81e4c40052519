"""Ways to answer SuperGLUE questions; each is one record of a registry.

untrained.py  a control, and hand-written prompts
incontext.py  training records in front of the question
ptuning.py    tuned prompts, beside a frozen backbone or with one that trains with them
pet.py        the backbone trained on manual prompts
ipet.py       the same, by models that label records for each other
ft.py         the backbone trained under a new head, without a prompt
"""

from ptune_scale.superglue.methods import ft, incontext, ipet, pet, ptuning, untrained
from ptune_scale.superglue.results import TaskMethod

METHODS: dict[str, TaskMethod] = {
    method.name: method
    for method in (
        TaskMethod("majority", untrained.run_majority, "control: the commonest training label"),
        TaskMethod("manual", untrained.run_manual, "hand-written prompts", asks="manual"),
        TaskMethod("incontext", incontext.run, "training records in front", asks="manual"),
        TaskMethod("ptuning", ptuning.run, "tuned prompts, frozen backbone", asks="tuned"),
        TaskMethod(
            "ptuning_joint",
            ptuning.run_jointly,
            "tuned prompts and a backbone that trains with them",
            tunes_backbone=True,
            asks="tuned",
        ),
        TaskMethod(
            "pet", pet.run, "backbone trained on manual prompts", tunes_backbone=True, asks="manual"
        ),
        TaskMethod(
            "ipet",
            ipet.run,
            "the same, by models that label for each other",
            tunes_backbone=True,
            asks="manual",
        ),
        TaskMethod("ft", ft.run, "backbone trained under a new head", tunes_backbone=True),
    )
}
"""Every method by the name that ``--method`` takes."""
