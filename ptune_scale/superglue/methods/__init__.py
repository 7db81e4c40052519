"""Ways to answer SuperGLUE questions; each is one file with one function ``run(job)``.

majority.py      control: the commonest training label
manual.py        hand-written prompts, nothing trained
incontext.py     training records in front of the question, nothing trained
ptuning.py       tuned prompts, frozen backbone
ptuning_joint.py tuned prompts and a backbone that trains with them
pet.py           the backbone trained on manual prompts
ipet.py          the same, by models that label records for each other
ft.py            the backbone trained under a new head, without a prompt
finetune.py      what those that train the backbone share
repeat.py        repetitions and grids of whatever trains
"""

from collections.abc import Callable

from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import (
    ft,
    incontext,
    ipet,
    majority,
    manual,
    pet,
    ptuning,
    ptuning_joint,
)
from ptune_scale.superglue.methods.result import TaskResult

METHODS: dict[str, Callable[[TaskJob], list[TaskResult]]] = {
    "majority": majority.run,
    "manual": manual.run,
    "incontext": incontext.run,
    "ptuning": ptuning.run,
    "ptuning_joint": ptuning_joint.run,
    "pet": pet.run,
    "ipet": ipet.run,
    "ft": ft.run,
}
"""Every method by the name that ``--method`` takes."""

TUNE_BACKBONE: frozenset[str] = frozenset({"ptuning_joint", "pet", "ipet", "ft"})
"""Those that train a copy of the backbone, which not every layout allows."""

__all__ = ["METHODS", "TUNE_BACKBONE", "TaskResult"]
