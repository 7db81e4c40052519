"""SuperGLUE: records, patterns, verbalizers, token layouts and metrics of its eight tasks.

Nothing here knows a model or a rank. A file of ``tasks/`` says all about one task; ``records``
reads a split of it, ``row_encoder`` turns its records into token rows by a ``pattern``, and
``metrics`` scores predictions. ``few_shot`` has the reference implementation's settings.
"""

from ptune_scale.superglue.records import read_split
from ptune_scale.superglue.row import Row, Rows
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.tasks import TASKS, find_task

__all__ = ["TASKS", "Row", "RowEncoder", "Rows", "find_task", "read_split"]
