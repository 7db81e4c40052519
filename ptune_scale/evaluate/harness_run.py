"""Tasks of lm-evaluation-harness over a tuned prompt, on all ranks of a job."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import make_table

from ptune_scale.errors import UserError
from ptune_scale.evaluate.harness import PtuneLM
from ptune_scale.reading import one_line

_RESAMPLES = 1000
"""For standard errors of what is no mean."""

TASKS = Path(__file__).with_name("harness_tasks")
"""The folder of our own tasks."""


def open_tasks(names: Sequence[str], given: Mapping[str, Any]) -> TaskManager:
    """The harness's tasks and our own.

    Args:
        given: what task files may read: "prompt", "task", "data_dir".

    Raises:
        UserError: there is no task of one of the names.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(TASKS), metadata=dict(given))
    unknown = [name for name in names if not manager.match_tasks([name])]
    if unknown:
        raise UserError(
            f"--harness: no task {', '.join(unknown)}; python -m ptune_scale.evaluate ls tasks "
            "lists them"
        )
    return manager


def run_tasks(
    lm: PtuneLM, names: Sequence[str], manager: TaskManager, limit: int
) -> tuple[dict[str, Any], str]:
    """Ask the tasks.

    Args:
        limit: most records of each; 0 for all.

    Returns:
        what the harness measured, and its table; nothing on other ranks than the first.

    Raises:
        UserError: the data of a task cannot be had.
    """
    try:
        found = simple_evaluate(
            lm,
            tasks=list(names),
            limit=limit or None,
            task_manager=manager,
            log_samples=False,
            bootstrap_iters=_RESAMPLES,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"--harness {','.join(names)}: {one_line(error)}") from error
    if found is None:
        return {}, ""
    return {name: dict(scores) for name, scores in found["results"].items()}, make_table(found)
