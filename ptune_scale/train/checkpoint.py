"""Checkpoints to resume from: small, whole, independent of the number of ranks and the layout.

A checkpoint is a directory ``step-000150`` of parts: ``state.pt`` (selection, position in the
data), an ``encoder-NAME.pt`` for each prompt encoder with its optimizer, and ``meta.json`` (what it
belongs to, and the sha256 of every part). Ranks write the parts that they speak for and read those
that they need: no rank ever needs all encoders in memory, and a run can go on in another layout.
The frozen backbone is not in it; its fingerprint is.

It appears whole or not at all: all ranks write into a scratch directory, and when everything is on
disk the main rank renames it. Where one of the same step is replaced, the older one is called
``step-000150.old`` for the moment between two renames, so that a process killed there loses
neither. With several nodes checkpoints must lie on a file system that they share.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from ptune_scale.errors import UserError
from ptune_scale.files import sha256_of, sync, write_json, writing
from ptune_scale.parallel import World
from ptune_scale.reading import check_kind, has_file, is_texts, read_object, shown

_FORMAT = 3
_META = {"step": int, "sha256": dict, "identity": dict, "flags": dict}
_KEPT = 2
_ALONE = World()
_NAME = re.compile(r"step-(\d+)(\.old)?")
# Never read: unfinished writes and unfinished removals of a process that was killed.
_REMAINS = ".step-*"


def save(
    directory: Path,
    step: int,
    parts: Mapping[str, Any],
    identity: dict[str, Any],
    flags: dict[str, Any],
    *,
    world: World = _ALONE,
) -> Path:
    """Write a checkpoint and remove all but the newest two; all ranks call it together.

    What killed processes left behind is removed too: nobody else may be writing to ``directory``.

    Args:
        parts: what this rank has to write, by name; each name is written by one rank.
        identity: what a resuming run must agree on, see ``check_identity``.
        flags: the run's settings, so that they need not be typed again.
        world: the ranks that write; by default this process alone.

    Raises:
        NotWritten: on every rank, where one could not write; older ones are as they were.
        UserError: the ranks do not see each other's files.
    """
    target = directory / f"step-{step:06d}"
    scratch = directory / f".{target.name}.partial"
    try:
        world.on_main(lambda: _begin(scratch))
        written = world.together(lambda: {n: _write(scratch, n, part) for n, part in parts.items()})
        meta = {
            "format": _FORMAT,
            "step": step,
            "sha256": {name: digest for part in written for name, digest in part.items()},
            "identity": identity,
            "flags": flags,
        }
        world.on_main(lambda: _complete(scratch, target, meta))
    except Exception:
        if world.is_main:  # where a disk is full, half a checkpoint is in the way
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    return target


def _begin(scratch: Path) -> None:
    for remains in scratch.parent.glob(_REMAINS):
        shutil.rmtree(remains, ignore_errors=True)
    with writing(scratch):
        scratch.mkdir(parents=True)


def _write(scratch: Path, name: str, part: Any) -> str:
    file = scratch / _file(name)
    with writing(file):
        # A network file system may not show another node's new directory before it is asked for.
        scratch.mkdir(parents=True, exist_ok=True)
        # Given a path, the library would not say why it cannot write.
        with file.open("xb") as stream:
            torch.save({"part": name, "value": part}, stream)
        sync(file)
        return sha256_of(file)


def _complete(scratch: Path, target: Path, meta: dict[str, Any]) -> None:
    missing = [_file(name) for name in meta["sha256"] if not (scratch / _file(name)).is_file()]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: written by other ranks, not to be seen in {scratch}; with "
            "several nodes --output_dir must be on a file system that they share"
        )
    write_json(scratch / "meta.json", meta)
    with writing(target):
        sync(scratch)
        _put_in_place(scratch, target)
    for old in checkpoints(target.parent)[:-_KEPT]:
        _remove(old)


def _put_in_place(scratch: Path, target: Path) -> None:
    """Rename; a checkpoint that has the name already goes when the new one is there."""
    aside = target.with_name(f"{target.name}.old")
    if (target / "meta.json").is_file():
        _remove(aside)
        target.rename(aside)
    else:
        _remove(target)  # not a checkpoint, and so no loss
    scratch.rename(target)
    sync(target.parent)
    _remove(aside)


def _remove(path: Path) -> None:
    """Remove a directory, which ceases to be a checkpoint at once and not file by file."""
    if path.exists():
        doomed = path.with_name(f".{path.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints in a directory, oldest first."""
    found = [
        path
        for path in (directory.iterdir() if directory.is_dir() else ())
        if _NAME.fullmatch(path.name) and path.is_dir() and has_file(path / "meta.json")
    ]
    return sorted(found, key=lambda path: (_step(path), not path.name.endswith(".old")))


def abandon_after(directory: Path, step: int) -> None:
    """Rename checkpoints of later steps, so that a run that goes on from ``step`` is the newest.

    It was resumed from there because later ones are damaged or not wanted. They are kept, as
    ``abandoned-step-000200``, but neither found nor counted any more.
    """
    for path in checkpoints(directory):
        if _step(path) > step:
            aside = path.with_name(f"abandoned-{path.name}")
            _remove(aside)
            path.rename(aside)


def _step(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found.group(1)) if found else -1


def find(path: Path) -> Path:
    """The checkpoint meant by a run's output directory, its checkpoint directory or a checkpoint.

    Raises:
        UserError: there is none.
    """
    found = _meant(path)
    if found is None:
        raise UserError(
            f"--resume_from {path}: no run and no checkpoint there; leave it out to begin one"
        )
    return found


def _meant(path: Path) -> Path | None:
    if os.path.isdir(path) and has_file(path / "meta.json"):
        return path
    for directory in (path / "checkpoint", path, *sorted(path.glob("*/checkpoint"))):
        if found := checkpoints(directory):
            return found[-1]
    return None


def find_all(path: Path) -> dict[str, Path]:
    """By method, the checkpoints to go on from: the one that is meant, others' newest beside it.

    None where a run was stopped before its first one.

    Raises:
        UserError: the one that is meant cannot be read, or is not there.
    """
    meant = _meant(path)
    if meant is None:
        if not path.is_dir() or _NAME.fullmatch(path.name):
            raise UserError(f"--resume_from {path}: no checkpoint there{_others(path)}")
        return {}
    run = run_directory(meant)
    newest = [] if run is None else [run / "checkpoint", *sorted(run.glob("*/checkpoint"))]
    # One that was not asked for, and is damaged, is not in the way of one that was.
    readable = [_readable(directory) for directory in newest if directory != meant.parent]
    found = [there[-1] for there in readable if there]
    return {method_of(one): one for one in (*found, meant)}


def _readable(directory: Path) -> list[Path]:
    """Checkpoints whose description can be read, oldest first."""
    found = []
    for path in checkpoints(directory):
        with contextlib.suppress(UserError):
            _description(path)
            found.append(path)
    return found


def _others(path: Path) -> str:
    """Which checkpoint to name instead of a damaged one, in words."""
    found = [one for one in _readable(path.parent) if one != path]
    return f"; there is --resume_from {found[-1]}" if found else ""


def method_of(path: Path) -> str:
    """The method that wrote a checkpoint."""
    return read_meta(path)["identity"]["method"]


def run_directory(path: Path) -> Path | None:
    """The output directory of the run that a checkpoint lies in; None if it was moved elsewhere."""
    path = path.resolve()
    if path.parent.name != "checkpoint":
        return None
    owner = path.parent.parent
    return owner.parent if owner.name == method_of(path) != "ptuning" else owner


def read_meta(path: Path) -> dict[str, Any]:
    """The description of a checkpoint.

    Raises:
        UserError: unreadable, or of another format; the message names one that can be read.
    """
    try:
        return _description(path)
    except UserError as error:
        raise UserError(f"{error}{_others(path)}") from error


def _description(path: Path) -> dict[str, Any]:
    meta = read_object(path / "meta.json", "checkpoint")
    found = meta.get("format")
    if type(found) is not int or found != _FORMAT:
        raise UserError(
            f"checkpoint {path} has format {shown(found)}, this version reads {_FORMAT}: "
            "go on with the version that wrote it, or start again"
        )
    for key, kind in _META.items():
        check_kind(meta.get(key), kind, f"checkpoint {path / 'meta.json'}: {key}")
    if not is_texts(meta["sha256"]) or not isinstance(meta["identity"].get("method"), str):
        raise UserError(f"checkpoint {path / 'meta.json'} is not as it was written")
    return meta


def load_part(path: Path, name: str) -> Any:
    """A part of a checkpoint, on the CPU.

    Raises:
        UserError: its file is missing, or its bytes are not those that were written.
    """
    file = path / _file(name)
    expected = read_meta(path)["sha256"].get(name)
    try:
        intact = file.is_file() and sha256_of(file) == expected
    except OSError as error:
        raise UserError(f"checkpoint {path}: {file.name} cannot be read ({error})") from error
    if not intact:
        raise UserError(f"checkpoint {path}: {file.name} is missing or damaged{_others(path)}")
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
        found, value = saved["part"], saved["value"]
    # Whole, but of another version: of what a pickle cannot do, each part has its own error.
    except Exception as error:
        raise UserError(
            f"checkpoint {path}: {file.name} is no part of one; go on with the version that wrote "
            "it, or start again"
        ) from error
    if found != name:
        raise UserError(f"checkpoint {path}: {file.name} is that of {shown(found)}")
    return value


def check_identity(saved: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Refuse to go on with something else than was begun.

    Raises:
        UserError: names every value that differs.
    """
    different = [
        f"{key} was {_short(saved.get(key))}, is {_short(now.get(key))}"
        for key in sorted({*saved, *now})
        if saved.get(key) != now.get(key)
    ]
    if different:
        raise UserError(f"cannot resume from {path}: {'; '.join(different)}")


def _file(name: str) -> str:
    return f"{quote(name, safe=' ')}.pt"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:24] + "..." + text[-24:]
