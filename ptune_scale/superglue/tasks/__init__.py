"""The SuperGLUE tasks, one file each, which is all that a task is."""

from typing import TYPE_CHECKING

from ptune_scale.errors import UserError
from ptune_scale.lazy import Registry

if TYPE_CHECKING:
    from ptune_scale.superglue.task import SuperglueTask

TASKS: "Registry[SuperglueTask]" = Registry(
    __name__,
    {
        "BoolQ": "boolq.TASK",
        "CB": "cb.TASK",
        "COPA": "copa.TASK",
        "MultiRC": "multirc.TASK",
        "RTE": "rte.TASK",
        "WiC": "wic.TASK",
        "WSC": "wsc.TASK",
    },
)
"""By the name of their directory, in the order of the paper's tables."""


def find_task(name: str) -> "SuperglueTask":
    """A task by its name, in upper or lower case.

    Raises:
        UserError: there is none; the message lists the known ones.
    """
    by_name = {known.lower(): known for known in TASKS}
    if name.lower() == "record":
        raise UserError(f"ReCoRD is not tuned, as in the paper; choose from {', '.join(TASKS)}")
    if name.lower() not in by_name:
        raise UserError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    return TASKS[by_name[name.lower()]]
