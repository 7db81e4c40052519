"""Ways to answer SuperGLUE questions; each is one file with one function ``run(job)``.

majority.py      control: the commonest training label
manual.py        hand-written prompts, nothing trained
ptuning.py       tuned prompts, frozen backbone
repeat.py        repetitions and grids of whatever trains
"""

from collections.abc import Callable

from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import majority, manual, ptuning
from ptune_scale.superglue.methods.result import TaskResult

METHODS: dict[str, Callable[[TaskJob], list[TaskResult]]] = {
    "majority": majority.run,
    "manual": manual.run,
    "ptuning": ptuning.run,
}
"""Every method by the name that ``--method`` takes."""

TUNE_BACKBONE: frozenset[str] = frozenset()
"""Those that train a copy of the backbone, which not every layout allows."""

__all__ = ["METHODS", "TUNE_BACKBONE", "TaskResult"]
