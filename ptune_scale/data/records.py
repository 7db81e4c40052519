"""Reads files with one JSON object a line; a bad line is named by file and number, or counted."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ptune_scale.errors import UserError

OnBadRecord = Literal["skip", "stop"]


def read_records(
    path: Path, required: tuple[str, ...], on_bad_record: OnBadRecord, dropped: Counter[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, record) of each good line; bad ones are counted or stop the run.

    Args:
        required: keys whose values must be texts that are not empty.
        dropped: where a bad line is counted.

    Raises:
        UserError: a bad line was met and ``on_bad_record`` is "stop".
    """
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                record = json.loads(raw.decode())
            except UnicodeDecodeError:
                reason = "not UTF-8"
            except json.JSONDecodeError as error:
                reason = f"not JSON ({error.msg})"
            else:
                reason = _complaint(record, required)
            if reason is None:
                yield number, record
            else:
                bad_record(path, number, reason, on_bad_record, dropped)


def _complaint(record: Any, required: tuple[str, ...]) -> str | None:
    if not isinstance(record, dict):
        return "not a JSON object"
    for key in required:
        value = record.get(key)
        if not isinstance(value, str):
            return f"{key!r} is missing or not a string"
        if not value.strip():
            return f"{key!r} is empty"
    return None


def bad_record(
    path: Path, number: int, reason: str, on_bad_record: OnBadRecord, dropped: Counter[str]
) -> None:
    """Count a bad line, or stop.

    Raises:
        UserError: ``on_bad_record`` is "stop".
    """
    if on_bad_record == "stop":
        raise UserError(
            f"{path}:{number}: bad record: {reason} (use --on_bad_record skip to go on without it)"
        )
    dropped["bad record"] += 1
