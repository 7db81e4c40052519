"""The one way in which files are written: whole or not at all, and on disk when it returns.

What is written lies first in a directory of its own beside its target: of a name that nobody can
know, so that no link waits there, and open to nobody else. One rename puts it in place.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
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
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EIO: "look after that disk",
}
_NEW_FILE = 0o666
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)
# How libraries in Rust report what the system said.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
# What file systems say that cannot sync a directory, and need not.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)


class NotWritten(UserError):
    """A file cannot be written: what was asked was right, and can be asked again."""


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
        # Some libraries make files that only their owner may read.
        scratch.chmod(_NEW_FILE & ~_umask())
        sync(scratch)
        os.replace(scratch, path)


def write_directory(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function fill a directory, and put it in place where there is none, or an empty one.

    The modes of its files are those of any new file, but of those that it shares with another
    directory.

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
                if entry.is_file() and entry.stat().st_nlink == 1:
                    entry.chmod(_NEW_FILE & ~_umask())
                sync(entry)
        sync(scratch)
        scratch.rename(path)


def _umask() -> int:
    # It cannot be asked for without being set.
    former = os.umask(0o077)
    os.umask(former)
    return former


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Do what may fail because a file or a directory cannot be written.

    Raises:
        NotWritten: in place of what the system, or a library, says.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = os_error_behind(error)
        if reason is None:
            raise
        raise cannot_write(path, reason) from error


@contextlib.contextmanager
def _place_beside(path: Path) -> Iterator[Path]:
    private = None
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made by mkdir with a random name, so never through a link.
            private = Path(
                tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
            )
            yield private / path.name
            sync(path.parent)
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


def cannot_write(path: Path, error: OSError) -> NotWritten:
    """What to tell a user whose file cannot be written: where, why, and what to do."""
    advice = _WHAT_TO_DO.get(error.errno or 0, "choose another place")
    return NotWritten(f"{path} cannot be written: {error.strerror or error}; {advice}")


def os_error_behind(error: BaseException | None) -> OSError | None:
    """What the system said, where a library has made an error of its own of it."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        if found := _OS_ERROR.search(str(error)):
            return OSError(int(found[1]), os.strerror(int(found[1])))
        error = error.__cause__ or error.__context__
    return None


def is_of_disk(error: OSError) -> bool:
    """Whether it says that a disk is full, broken or not to be written to."""
    return error.errno in _OF_DISKS


def remove_remains(directory: Path) -> None:
    """Remove what writes have left in a directory whose process was killed in their midst."""
    for path in directory.iterdir() if directory.is_dir() else ():
        if is_remains(path):
            shutil.rmtree(path, ignore_errors=True)


def is_remains(path: Path) -> bool:
    """Whether it is the scratch of an unfinished write, which nobody reads."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
