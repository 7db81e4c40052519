"""The SuperGLUE tasks, one file each."""

from ptune_scale.errors import UserError
from ptune_scale.superglue.task import SuperglueTask
from ptune_scale.superglue.tasks import boolq, cb, copa, multirc, rte, wic, wsc

TASKS: dict[str, SuperglueTask] = {
    module.TASK.name: module.TASK for module in (boolq, cb, copa, multirc, rte, wic, wsc)
}
"""By the name of their directory, in the order of the paper's tables."""


def find_task(name: str) -> SuperglueTask:
    """A task by its name, in upper or lower case.

    Raises:
        UserError: there is none; the message lists the known ones.
    """
    by_name = {known.lower(): task for known, task in TASKS.items()}
    if name.lower() == "record":
        raise UserError(f"ReCoRD is not tuned, as in the paper; choose from {', '.join(TASKS)}")
    if name.lower() not in by_name:
        raise UserError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    return by_name[name.lower()]
