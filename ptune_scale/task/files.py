"""Rows of data files, one at a time; a bad one is named by file and line, or counted."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptune_scale.errors import UserError
from ptune_scale.files import sha256_of
from ptune_scale.reading import has_file, is_there, reason_of
from ptune_scale.task import formats

OnBadRecord = Literal["skip", "stop"]


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as its file has it.

    Attributes:
        values: by column; what JSON can hold.
        source: "file:line", or "file row N", counted from 1, where a file has no lines.
    """

    values: dict[str, Any]
    source: str


def read_rows(
    source: str | Path,
    base: Path = Path(),
    *,
    required: Sequence[str] = (),
    on_bad_record: OnBadRecord = "stop",
    dropped: Counter[str] | None = None,
) -> Iterator[RawRow]:
    """All rows of a file, in order; none where it is empty. Blank lines and a BOM do not matter.

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file, or "hf:owner/name[:config][@split]".
        base: where a relative path begins.
        required: columns whose values must be texts that are not blank.
        dropped: where rows that are skipped are counted.

    Raises:
        UserError: it cannot be read, or a row is bad and ``on_bad_record`` is "stop".

    Example:
        >>> [row.values for row in read_rows("tickets.csv")]
        [{'title': 'No sound', 'category': 'hardware'}]
    """
    name, rows = _open(source, base)
    try:
        for place, values in rows:
            if isinstance(values, ValueError):
                bad_record(f"{name}{place}", str(values), on_bad_record, dropped)
            elif (reason := _lacks(values, required)) is not None:
                bad_record(f"{name}{place}", reason, on_bad_record, dropped)
            else:
                yield RawRow(values, f"{name}{place}")
    except OSError as error:
        raise _unreadable(name, error) from error


def bad_record(
    source: str, reason: str, on_bad_record: OnBadRecord, dropped: Counter[str] | None
) -> None:
    """Count a bad row, or stop.

    Args:
        source: where it stands, as ``RawRow`` has it.

    Raises:
        UserError: ``on_bad_record`` is "stop".
    """
    if on_bad_record == "stop":
        raise UserError(
            f"{source}: bad record: {reason} (use --on_bad_record skip to go on without it)"
        )
    if dropped is not None:
        dropped["bad record"] += 1


def count_rows(source: str | Path, base: Path = Path()) -> int | None:
    """How many rows there are, bad ones included, for a progress bar; None for the hub's sets.

    Raises:
        UserError: it cannot be read.
    """
    if _is_hub(source):
        return None
    path = _file(source, base)
    try:
        if path.suffix.lower() == ".parquet":
            return formats.parquet_count(path)
        if path.suffix.lower() == ".jsonl":
            return formats.jsonl_count(path)
        return sum(1 for _ in _open(source, base)[1])
    except OSError as error:
        raise _unreadable(path, error) from error


def digest_file(source: str | Path, base: Path = Path()) -> str:
    """The sha256 of a file, in hex; of its name where the set is the hub's.

    Raises:
        UserError: it cannot be read.
    """
    if _is_hub(source):
        return hashlib.sha256(str(source).encode()).hexdigest()
    path = _file(source, base)
    try:
        return sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _is_hub(source: str | Path) -> bool:
    return str(source).startswith("hf:")


def _open(source: str | Path, base: Path) -> tuple[str, formats.Rows]:
    """The name for messages, and the rows."""
    if _is_hub(source):
        return str(source), formats.hub(str(source))
    path = _file(source, base)
    read = formats.BY_SUFFIX.get(path.suffix.lower())
    if read is None:
        raise UserError(
            f"{path}: unknown format {path.suffix!r}; give {', '.join(formats.BY_SUFFIX)} "
            "or hf:owner/name"
        )
    return str(path), read(path)


def _file(source: str | Path, base: Path) -> Path:
    path = base / source
    if is_there(path) and not path.is_file():
        raise UserError(f"{path} is not a file; name one of {', '.join(formats.BY_SUFFIX)}")
    if not has_file(path):
        raise UserError(f"{path} cannot be read: No such file")
    return path


def _unreadable(path: str | Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {reason_of(error)}")


def _lacks(values: Mapping[str, Any], required: Sequence[str]) -> str | None:
    for key in required:
        value = values.get(key)
        if not isinstance(value, str):
            return f"{key!r} is missing or not a string"
        if not value.strip():
            return f"{key!r} is empty"
    return None
