"""The one way in which files are written: whole or not at all, and on disk when it returns.

What is written lies first in a directory of its own beside its target: of a name that nobody can
know, so that no link waits there, and open to nobody else. One rename puts it in place.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ptune_scale.errors import UserError

_WHAT_TO_DO = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
    errno.ENOTDIR: "a part of that path is a file",
    errno.EEXIST: "a part of that path is a file",
    errno.ENOTEMPTY: "choose a new directory",
}
# What file systems say that cannot sync a directory, and need not.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; see ``write_file``."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes; see ``write_file``."""
    write_file(path, lambda scratch: scratch.write_bytes(data))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON; see ``write_file``."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file, and put it in place of what is there.

    Directories on the way are made. The file's mode is that of any new file (the umask).

    Args:
        write: is given where to write: a file of the same name elsewhere, not there yet.

    Raises:
        UserError: it cannot be written; what was there still is.

    Example:
        >>> write_file(Path("out/plot.png"), figure.savefig)
    """
    with _place_beside(path) as scratch:
        write(scratch)
        sync(scratch)
        os.replace(scratch, path)


def write_directory(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function fill a directory, and put it in place where there is none, or an empty one.

    Args:
        write: is given the directory to fill.

    Raises:
        UserError: it cannot be written, or something is in ``path``.
    """
    with _place_beside(path) as scratch:
        scratch.mkdir()
        write(scratch)
        for entry in sorted(scratch.rglob("*"), reverse=True):
            if not entry.is_symlink():
                sync(entry)
        sync(scratch)
        scratch.rename(path)


@contextlib.contextmanager
def _place_beside(path: Path) -> Iterator[Path]:
    private = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made by mkdir with a random name, so never through a link.
        private = Path(
            tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        )
        yield private / path.name
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    except ValueError as error:
        if "\0" in str(path):
            raise UserError(f"{str(path)!r} cannot be written: a name has no zero bytes") from error
        raise
    finally:
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)


def hold(lock: FileLock, what: str) -> None:
    """Take a lock, so that two runs do not write to the same place; makes its directory.

    Args:
        what: is written to, as the user named it.

    Raises:
        UserError: another run holds it, or it cannot be made.
    """
    path = Path(lock.lock_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:  # an OSError too
        raise UserError(f"{what} is in use by another run") from None
    except OSError as error:
        raise UserError(f"{what}: {error.strerror}; choose another place") from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """What to tell a user whose file cannot be written: where, why, and what to do."""
    advice = _WHAT_TO_DO.get(error.errno or 0, "choose another place")
    return UserError(f"{path} cannot be written: {error.strerror or error}; {advice}")


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a directory, survive a power failure.

    Raises:
        OSError: they may not.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
