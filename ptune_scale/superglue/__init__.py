"""SuperGLUE: seven tasks as data, and the methods of few-shot learning.

tasks/ task.py              what each task states about itself: one file, one record
fields.py reading.py        records of the published files
config.py check.py run.py   what a run can be told, what can be wrong with it, and the run
job.py results.py report.py one task of a run: trials that are made once, and what they come to
methods/ classification.py  ways to answer; labels told apart by a head of its own
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import exports

# ruff: noqa: F401 (the names below are imported for others)
if TYPE_CHECKING:
    from ptune_scale.superglue.reading import read_split, records_of
    from ptune_scale.superglue.tasks import TASKS, find_task

if not TYPE_CHECKING:  # else any name would be taken for one that is there
    __getattr__ = exports(
        __name__,
        {"TASKS": "tasks", "find_task": "tasks", "read_split": "reading", "records_of": "reading"},
    )
