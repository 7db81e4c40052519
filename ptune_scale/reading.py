"""The one way in which small files are read: whole, as UTF-8, and checked before it is believed.

A name that is there but leads to nothing that can be read (a broken link, a directory in the place
of a file) is an error that tells its name, never the same as no such name.
"""

import codecs
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.strict_json import parse_json

_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""A zero byte, or half a surrogate pair: what stands for a byte that is not UTF-8."""

_MOST_SHOWN = 60
_LONGEST_REASON = 300


def is_there(path: Path) -> bool:
    """Whether there is anything of this name.

    Raises:
        UserError: there is, or may be, but it cannot be looked at; or a directory on the way to it
            is none.
    """
    return _mode(path) is not None


def has_file(path: Path) -> bool:
    """Whether there is a file of this name.

    Raises:
        UserError: something else has the name, or see ``is_there``.
    """
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a file; mend or remove it")
    return mode is not None


def has_directory(path: Path) -> bool:
    """Whether there is a directory of this name.

    Raises:
        UserError: something else has the name, or see ``is_there``.
    """
    mode = _mode(path)
    if mode is not None and not stat.S_ISDIR(mode):
        raise UserError(f"{path} is not a directory; mend or remove it")
    return mode is not None


def _mode(path: Path) -> int | None:
    """What kind of thing it is; None if there is no such name."""
    try:
        return path.stat().st_mode
    # A ValueError: the name has a zero byte.
    except (OSError, ValueError) as error:
        for place in () if isinstance(error, ValueError) else (path, *path.parents):
            if os.path.islink(place) and not os.path.exists(place):
                raise UserError(
                    f"{place} is a link that leads nowhere; mend or remove it"
                ) from error
        if isinstance(error, FileNotFoundError):
            return None
        raise UserError(f"{path} cannot be read: {reason_of(error)}") from error


def reason_of(error: OSError | ValueError) -> str:
    """Why the system could not read a file, in its own words."""
    return getattr(error, "strerror", None) or str(error)


def read_bytes(path: Path, what: str) -> bytes:
    """A file.

    Args:
        what: it is, for messages that begin with this and the path.

    Raises:
        UserError: it is not there, is no file, or cannot be read.
    """
    try:
        # Without waiting for whoever writes into a pipe of this name.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{what} {path} is not a file")
            return stream.read()
    except (OSError, ValueError) as error:
        has_file(path)  # says more of links
        raise UserError(f"{what} {path}: {reason_of(error)}") from error


def read_text(path: Path, what: str) -> str:
    """A text; see ``read_bytes``. A byte-order mark is no part of it.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    raw = read_bytes(path, what)
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{what} {path}:{line}: not UTF-8") from error


def read_json(path: Path, what: str) -> Any:
    """A JSON value, read strictly; see ``parse_json``.

    Raises:
        UserError: it cannot be read, or is no such value.
    """
    raw = read_bytes(path, what)
    try:
        return parse_json(raw)
    except ValueError as error:
        line = getattr(error.__cause__, "lineno", None)
        raise UserError(f"{what} {path}{f':{line}' if line else ''}: {error}") from error


def read_object(path: Path, what: str) -> dict[str, Any]:
    """A JSON object, read strictly.

    Raises:
        UserError: it cannot be read, or is no object.
    """
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise UserError(f"{what} {path}: it holds {shown(value)}, not an object")
    return value


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file.

    Raises:
        UserError: it cannot be read, or is none.
    """
    text = read_text(path, what)
    try:
        return tomllib.loads(text)
    # ValueErrors: TOML's own, and numbers of too many digits.
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{what} {path}: not TOML ({reason})") from error


def check_kind(value: Any, kind: type, where: str) -> None:
    """Make sure that a value that was read is of a type; true and false are no numbers.

    Args:
        where: what it is and where it stands.

    Raises:
        UserError: it is of another type.
    """
    if type(value) is not kind and not (kind is float and type(value) is int):
        called = _KINDS.get(kind, "a table" if issubclass(kind, dict) else "a list")
        raise UserError(f"{where} is {shown(value)}, not {called}")


def is_texts(value: Any) -> bool:
    """Whether a value is a table of texts by name."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    )


def one_line(error: Exception | str) -> str:
    """What a library says of an error, cut to what fits in a line."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."


def shown(value: Any) -> str:
    """A value for a message, cut to what fits in a line."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # a number of very many digits, very deep lists
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
