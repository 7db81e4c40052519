"""The directory of a run, and ``run.json``: what it was told, kept there so that it can go on."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptune_scale.errors import PartlyDone, UserError
from ptune_scale.files import NotWritten, remove_remains, write_json, write_text
from ptune_scale.reading import has_file, is_there, read_object, read_text
from ptune_scale.run.config import RunConfig

if TYPE_CHECKING:
    from ptune_scale.parallel import World

RUN_FILE = "run.json"

RUNS = "runs"
"""Where results go that have no --output_dir."""

_NOT_KEPT = ("resume_from", "output_dir")
# More than a checkpoint lies below the directory of its run.
_MOST_LEVELS = 6


def named_output(run: RunConfig) -> str:
    """The directory of a job's results: as it was typed, or named after the time."""
    return run.output_dir or f"{RUNS}/{time.strftime('%Y%m%d-%H%M%S')}"


def find_run(path: Path) -> Path | None:
    """The output directory of the run that a path lies in; None if there is none.

    Raises:
        UserError: the path, or a run's file, leads to nothing that can be read.
    """
    is_there(path)  # a link in a circle has no place that it stands for
    path = path.resolve()
    above = [path, *path.parents][:_MOST_LEVELS]
    # A file is in no directory; one that is a checkpoint's is below its run.
    return next((p for p in above if p.is_dir() and has_file(p / RUN_FILE)), None)


def read_told(run: Path, command: str) -> dict[str, Any]:
    """The flags of the run in an output directory.

    Args:
        command: whose run it should be.

    Raises:
        UserError: it is another's, or the file cannot be read.
    """
    path = run / RUN_FILE
    try:
        saved = read_object(path, "--resume_from")
        flags, owner = saved.get("flags"), saved.get("command")
        if not isinstance(flags, dict) or not isinstance(owner, str):
            raise UserError(f"--resume_from {path}: it is not as it was written")
    except UserError as error:
        raise UserError(
            f"{error}; without that file the run goes on from a checkpoint, in a directory of its "
            "own"
        ) from error
    if owner != command:
        raise UserError(f"--resume_from {run}: it is a run of {owner!r}, not of {command!r}")
    return flags


@contextlib.contextmanager
def told(world: "World", output: Path, command: str, flags: Mapping[str, Any]) -> Iterator[None]:
    """Keep in the output directory what a run is told; all ranks call it together.

    A run that refuses what it was told does not have to go on with it: where a UserError ends it,
    what was told before is put back, and where nothing was, and it has written nothing, nothing is
    left.

    Raises:
        UserError: it cannot be written.
    """
    path = output / RUN_FILE
    former: str | None = None
    kept = {name: value for name, value in flags.items() if name not in _NOT_KEPT}
    content = {"command": command, "flags": kept}

    def begin() -> None:
        nonlocal former
        remove_remains(output)
        former = read_text(path, "--output_dir") if has_file(path) else None
        write_json(path, content)

    world.on_main(begin)
    try:
        yield
    except (NotWritten, PartlyDone):
        raise  # nothing is wrong with what it was told
    except UserError:
        if world.is_main:
            with contextlib.suppress(UserError, OSError):
                _take_back(path, former)
        raise
    finally:
        # Whoever has removed the directory meanwhile gets all of what came after.
        if world.is_main and (output / "checkpoint").is_dir() and not path.exists():
            with contextlib.suppress(UserError):
                write_json(path, content)


def _take_back(path: Path, former: str | None) -> None:
    if former is not None:
        write_text(path, former)
    elif all(entry.name in (RUN_FILE, ".lock") for entry in path.parent.iterdir()):
        path.unlink()
