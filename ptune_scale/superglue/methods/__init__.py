"""Ways to answer SuperGLUE questions; each is one record of a registry.

untrained.py  a control, and hand-written prompts
incontext.py  training records in front of the question
ptuning.py    tuned prompts, beside a frozen backbone or with one that trains with them
pet.py        the backbone trained on manual prompts
ipet.py       the same, by models that label records for each other
ft.py         the backbone trained under a new head, without a prompt
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import Registry

if TYPE_CHECKING:
    from ptune_scale.superglue.results import TaskMethod

METHODS: "Registry[TaskMethod]" = Registry(
    __name__,
    {
        "majority": "untrained.MAJORITY",
        "manual": "untrained.MANUAL",
        "incontext": "incontext.INCONTEXT",
        "ptuning": "ptuning.PTUNING",
        "ptuning_joint": "ptuning.JOINTLY",
        "pet": "pet.PET",
        "ipet": "ipet.IPET",
        "ft": "ft.FT",
    },
)
"""Every method by the name that ``--method`` takes."""
