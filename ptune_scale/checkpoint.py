"""Checkpoints to resume from: small, whole, independent of the number of ranks and the layout.

A checkpoint is a directory ``step-000150`` with ``state.pt`` (encoders, optimizers, selection,
position in the data) and ``meta.json`` (what it belongs to). It appears whole or not at all. The
frozen backbone is not in it; its fingerprint is.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from ptune_scale.errors import UserError

_FORMAT = 1
_NAME = re.compile(r"step-(\d+)")


def save(
    directory: Path,
    step: int,
    state: dict[str, Any],
    identity: dict[str, Any],
    flags: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write a checkpoint and remove all but the newest ``keep``.

    Args:
        identity: what a resuming run must agree on, see ``check_identity``.
        flags: the run's settings, so that they need not be typed again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"step-{step:06d}"
    scratch = directory / f".{target.name}.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    torch.save(state, scratch / "state.pt")
    meta = {
        "format": _FORMAT,
        "step": step,
        "state_sha256": _sha256(scratch / "state.pt"),
        "identity": identity,
        "flags": flags,
    }
    (scratch / "meta.json").write_text(json.dumps(meta, indent=1))
    for path in scratch.iterdir():
        _sync(path)
    if target.exists():
        shutil.rmtree(target)
    scratch.rename(target)
    _sync(directory)
    for old in checkpoints(directory)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints in a directory, oldest first."""
    found = (
        [p for p in directory.iterdir() if _NAME.fullmatch(p.name)] if directory.is_dir() else []
    )
    return sorted(found, key=lambda p: int(_NAME.fullmatch(p.name).group(1)))


def find(path: Path) -> Path:
    """The checkpoint meant by a run's output directory, its checkpoint directory or a checkpoint.

    Raises:
        UserError: there is none.
    """
    if (path / "meta.json").is_file():
        return path
    for directory in (path / "checkpoint", path):
        if found := checkpoints(directory):
            return found[-1]
    raise UserError(f"--resume_from {path}: no checkpoint there")


def run_directory(path: Path) -> Path | None:
    """The output directory of the run that a checkpoint lies in; None if it was moved elsewhere."""
    path = path.resolve()
    return path.parent.parent if path.parent.name == "checkpoint" else None


def read_meta(path: Path) -> dict[str, Any]:
    """The description of a checkpoint.

    Raises:
        UserError: unreadable, or written by a later version.
    """
    try:
        meta = json.loads((path / "meta.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {path}: meta.json cannot be read ({error})") from error
    found = meta.get("format") if isinstance(meta, dict) else None
    if found != _FORMAT:
        raise UserError(f"checkpoint {path} has format {found}, expected {_FORMAT}")
    return meta


def load_state(path: Path) -> dict[str, Any]:
    """The state of a checkpoint, on the CPU.

    Raises:
        UserError: the file is missing or its bytes are not those that were written.
    """
    file = path / "state.pt"
    if not file.is_file() or _sha256(file) != read_meta(path).get("state_sha256"):
        raise UserError(f"checkpoint {path}: state.pt is missing or damaged; use an older one")
    return torch.load(file, map_location="cpu", weights_only=True)


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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:24] + "..." + text[-24:]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
