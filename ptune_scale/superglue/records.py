"""Reads a split of a SuperGLUE task from a directory.

Both releases have one directory a task (``BoolQ``, ``CB``, ...) with one JSON object a line:
SuperGLUE's own with ``train``, ``val`` and ``test``, FewGLUE_32dev (github.com/THUDM/P-tuning)
with ``train``, ``dev32``, ``val`` and ``unlabeled``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ptune_scale.errors import UserError
from ptune_scale.superglue.fields import BadRecord, Fields
from ptune_scale.superglue.task import Record
from ptune_scale.superglue.tasks import find_task

Split = Literal["train", "dev32", "val", "test", "unlabeled"]
_UNLABELLED = ("test", "unlabeled")


def read_split(data_dir: Path, task: str, split: Split) -> list[Record]:
    """All records of ``data_dir/task/split.jsonl``, in order.

    Args:
        task: a name in ``TASKS``.
        split: labels may be absent in "test" and "unlabeled" only.

    Raises:
        UserError: the task is unknown, the file is missing or empty, or a record cannot be used;
            the message then names file, line and reason.
    """
    known = find_task(task)
    path = data_dir / known.name / f"{split}.jsonl"
    if not path.is_file():
        present = sorted(p.stem for p in path.parent.glob("*.jsonl"))
        raise UserError(
            f"{path} does not exist; "
            + (f"{path.parent} has {', '.join(present)}" if present else "no split of it is there")
        )
    records: list[Record] = []
    for number, value in _objects(path):
        try:
            records += known.read(Fields(value, labelled=split not in _UNLABELLED))
        except BadRecord as error:
            raise UserError(f"{path}:{number}: bad record: {error}") from error
    if not records:
        raise UserError(f"{path} holds no records")
    return records


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                value = json.loads(raw.decode())
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number}: bad record: not UTF-8") from error
            except json.JSONDecodeError as error:
                raise UserError(f"{path}:{number}: bad record: not JSON ({error.msg})") from error
            if not isinstance(value, dict):
                raise UserError(f"{path}:{number}: bad record: not a JSON object")
            yield number, value
