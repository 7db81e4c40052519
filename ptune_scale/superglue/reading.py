"""Reads a split of a SuperGLUE task from a directory.

Both releases have one directory a task (``BoolQ``, ``CB``, ...) with one JSON object a line:
SuperGLUE's own with ``train``, ``val`` and ``test``, FewGLUE_32dev (github.com/THUDM/P-tuning)
with ``train``, ``dev32``, ``val`` and ``unlabeled``.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.reading import has_file
from ptune_scale.superglue.fields import BadRecord, Fields
from ptune_scale.superglue.task import SuperglueTask
from ptune_scale.task.files import OnBadRecord, bad_record, read_rows
from ptune_scale.task.record import Record

_UNLABELLED = ("test", "unlabeled")


def read_split(
    data_dir: Path,
    task: SuperglueTask,
    split: str,
    on_bad_record: OnBadRecord = "stop",
    dropped: Counter[str] | None = None,
) -> list[Record]:
    """All records of ``data_dir/TASK/SPLIT.jsonl``, in order.

    Args:
        split: labels may be absent in "test" and "unlabeled" only.
        dropped: where bad records that are skipped are counted.

    Raises:
        UserError: the file is missing or empty, or a record cannot be used; the message then names
            file, line and reason.
    """
    path = data_dir / task.name / f"{split}.jsonl"
    if not has_file(path):
        present = sorted(p.stem for p in path.parent.glob("*.jsonl"))
        raise UserError(
            f"{path} does not exist; "
            + (f"{path.parent} has {', '.join(present)}" if present else "no split of it is there")
        )
    records: list[Record] = []
    for row in read_rows(path, on_bad_record=on_bad_record, dropped=dropped):
        try:
            labelled = split not in _UNLABELLED
            records += records_of(task, row.values, labelled=labelled, source=row.source)
        except BadRecord as error:
            bad_record(row.source, str(error), on_bad_record, dropped)
    if not records:
        raise UserError(f"{path} holds no records")
    return records


def records_of(
    task: SuperglueTask, values: Mapping[str, Any], *, labelled: bool = False, source: str = ""
) -> list[Record]:
    """The records of one JSON object, with the texts that the task's patterns name.

    Args:
        values: the object as published.
        labelled: whether it must have a label.
        source: where it was read, for messages.

    Raises:
        BadRecord: it cannot be used.

    Example:
        >>> prompt = load_prompt("out/WSC/ptuning-seed42/prompt")
        >>> prompt.predict(records_of(find_task("WSC"), json.loads(line)))
    """
    return [
        Record(number, texts, _label(task, fields, labelled), source=source)
        for number, texts, fields in task.read(Fields(values))
    ]


def _label(task: SuperglueTask, fields: Fields, labelled: bool) -> str | None:
    """Name of the label; None where there need not be one."""
    value = fields.values.get("label")
    for name, known in task.labels.items():
        if type(value) is type(known) and value == known:
            return name
    if value is not None:
        listed = ", ".join(map(repr, task.labels.values()))
        raise BadRecord(f"unknown label {value!r} in '{fields.path}label'; known: {listed}")
    if labelled:
        raise BadRecord(f"'{fields.path}label' is missing")
    return None
