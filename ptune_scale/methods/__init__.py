"""Ways to ask a frozen model for facts; each is one file with one function ``run(job)``.

majority.py   control: the relation's commonest training object
manual.py     the hand-written prompt
ptuning.py    trained prompts
"""

from collections.abc import Callable

from ptune_scale.job import Job
from ptune_scale.methods import majority, manual, ptuning
from ptune_scale.methods.result import MethodResult

METHODS: dict[str, Callable[[Job], list[MethodResult]]] = {
    "majority": majority.run,
    "manual": manual.run,
    "ptuning": ptuning.run,
}
"""Every method by the name that ``--method`` takes."""

__all__ = ["METHODS", "MethodResult"]
