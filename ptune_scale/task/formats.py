"""One reader for each format of data files.

A reader yields where a row stands, to be put behind the file's name in messages, and its values; a
ValueError in their place says why the row cannot be used. It raises a UserError where it cannot go
on, and OSError.
"""

import codecs
import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.reading import NOT_TEXT, one_line
from ptune_scale.strict_json import parse_json

Rows = Iterator[tuple[str, dict[str, Any] | ValueError]]

_LISTS = ("data", "records")
"""Where a JSON object may have its list of rows."""

_LONGEST_CELL = 1 << 27
"""Characters. The csv module's own limit, 131,072, is less than a long document."""

_BATCH = 1024
"""Rows of a Parquet file that are in memory at a time."""

_HUB = re.compile(r"hf:(?P<name>[^:@]+)(:(?P<config>[^@]+))?(@(?P<split>.+))?")


def jsonl(path: Path) -> Rows:
    """One JSON object a line; blank lines are none."""
    for number, line in _lines(path):
        yield f":{number}", _object(line)


def jsonl_count(path: Path) -> int:
    """Lines that are not blank."""
    return sum(1 for _ in _lines(path))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            line = line.removeprefix(codecs.BOM_UTF8).strip()
            if line:
                yield number, line


def json_list(path: Path) -> Rows:
    """A list of objects, by itself or in an object; or objects a line whatever the file's name."""
    whole = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if not whole.strip():
        return
    try:
        value = parse_json(whole)
    except ValueError as error:
        if isinstance(_object(whole.lstrip().partition(b"\n")[0]), dict):
            yield from jsonl(path)
            return
        cause = error.__cause__
        line = f":{cause.lineno}" if isinstance(cause, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line}: {error}") from error
    if isinstance(value, dict):
        value = next((value[key] for key in _LISTS if isinstance(value.get(key), list)), value)
    if not isinstance(value, list):
        raise UserError(
            f"{path}: give a list of objects, or an object that has one under "
            f"{' or '.join(map(repr, _LISTS))}"
        )
    for number, row in enumerate(value, start=1):
        yield f" row {number}", row if isinstance(row, dict) else ValueError("not a JSON object")


def delimited(path: Path, delimiter: str) -> Rows:
    """A header and rows of cells; those of blank cells alone are none."""
    csv.field_size_limit(_LONGEST_CELL)
    header: list[str] = []
    with path.open("rb") as stream:
        if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            stream.seek(0)
        # What is not UTF-8 spoils its own row, not the reader.
        lines = (line.decode("utf-8", "surrogateescape") for line in stream)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            place = f":{reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                # Always the end: nobody knows how many rows a quote left open has swallowed.
                raise UserError(f"{path}{place}: broken quotes or line ends ({error})") from error
            if cells is None:
                return
            if not any(map(str.strip, cells)):
                continue
            bad = NOT_TEXT.search("".join(cells))
            if not header:
                header = [cell.strip() for cell in cells]
                if bad:
                    raise UserError(f"{path}{place}: not UTF-8")
                _check_names(path, header)
            elif bad:
                yield place, ValueError("not UTF-8")
            elif len(cells) != len(header):
                reason = f"number of cells is {len(cells)}, of columns {len(header)}"
                yield place, ValueError(reason)
            else:
                yield place, dict(zip(header, cells, strict=True))


def parquet(path: Path) -> Rows:
    """The rows of a Parquet file, a batch at a time."""
    arrow = _library("pyarrow", path)
    module = import_module("pyarrow.parquet")
    try:
        with module.ParquetFile(path, page_checksum_verification=True) as file:
            _check_names(path, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield f" row {number}", _plain(values)
    # OSError too is what it says of contents that it cannot make sense of.
    except (arrow.ArrowException, OSError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def parquet_count(path: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    arrow = _library("pyarrow", path)
    try:
        return import_module("pyarrow.parquet").read_metadata(path).num_rows
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def hub(source: str) -> Rows:
    """The rows of a Hugging Face data set, "hf:owner/name[:config][@split]"."""
    match = _HUB.fullmatch(source)
    if not match:
        raise UserError(f"{source!r} is no data set: write hf:owner/name[:config][@split]")
    datasets = _library("datasets", source)
    try:
        rows = datasets.load_dataset(
            match["name"], match["config"], split=match["split"] or "train"
        )
        for number, values in enumerate(rows, start=1):
            yield f" row {number}", _plain(values)
    # It raises whatever its parts raise, from a missing network to a wrong name.
    except Exception as error:
        raise UserError(f"{source} cannot be had: {_first_line(error)}") from error


BY_SUFFIX: Mapping[str, Callable[[Path], Rows]] = {
    ".jsonl": jsonl,
    ".ndjson": jsonl,
    ".json": json_list,
    ".csv": partial(delimited, delimiter=","),
    ".tsv": partial(delimited, delimiter="\t"),
    ".parquet": parquet,
}


def _object(raw: bytes) -> dict[str, Any] | ValueError:
    try:
        value = parse_json(raw)
    except ValueError as error:
        return error
    return value if isinstance(value, dict) else ValueError("not a JSON object")


def _check_names(path: Path, names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"{path}: more than one column is called {', '.join(map(repr, twice))}")


def _plain(value: Any) -> Any:
    """What JSON can hold of a value of a table; NaN there means that nothing is known."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return str(value)


def _library(name: str, source: str | Path) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{source}: reading it needs a library: pip install {name}") from error


def _first_line(error: Exception) -> str:
    return one_line(next(iter(str(error).splitlines()), "") or type(error).__name__)
