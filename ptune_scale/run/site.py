"""Where a job runs: its ranks, and the directory of its results that it has to itself."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ptune_scale.errors import UserError
from ptune_scale.files import hold, is_remains
from ptune_scale.parallel import Degrees, Mesh, StopSignal, World
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.run.config import RunConfig
from ptune_scale.run.told import RUNS, find_run, named_output

_TRIED = ".ptune_scale-"


@dataclass(frozen=True)
class Site:
    """Where a job runs.

    Attributes:
        mesh: the ranks, in their layout.
        stop: asks whether the job was told to stop.
        output: the directory of its results, in which no other run writes; the current one for
            what has none.
    """

    mesh: Mesh
    stop: StopSignal
    output: Path

    @property
    def world(self) -> World:
        return self.mesh.world


def choose_output(run: RunConfig, world: World) -> Path:
    """The directory of a job's results, the same on all ranks."""
    # Clocks differ: the first rank names the directory for all.
    return Path(world.gather(named_output(run))[0])


@contextlib.contextmanager
def claimed(world: World, degrees: Degrees, output: Path | None) -> Iterator[Site]:
    """The site of a job that has its output directory to itself, if it has one.

    Ends the job on all ranks together where the body ends well; several ranks do not return.

    Raises:
        UserError: the directory is in use or cannot be made.
    """
    mesh = Mesh.build(world, degrees)
    stop = StopSignal(world)
    stop.listen()
    if output is None:
        yield Site(mesh, stop, Path())
    else:
        lock = FileLock(output / ".lock")
        world.on_main(lambda: hold(lock, f"--output_dir {output}"))
        yield Site(mesh, stop, output)
        lock.release()
    world.finish()


def check_output(run: RunConfig) -> None:
    """Make sure that results can be written; the first rank does it, others would see its files.

    Raises:
        UserError: the directory is in use, or nothing can be made there.
    """
    if not launch.is_first_rank():
        return
    output = Path(run.output_dir or RUNS)
    resumed = find_run(Path(run.resume_from)) if run.resume_from else None
    try:
        if run.output_dir and output.exists():
            _check_empty(output, resumed)
        _check_writable(output)
    except OSError as error:
        raise UserError(f"--output_dir {output}: {error.strerror}") from error


def _check_empty(output: Path, resumed: Path | None) -> None:
    if not output.is_dir():
        raise UserError(f"--output_dir {output} is not a directory")
    holds_something = any(
        not (path.name == ".lock" or path.name.startswith(_TRIED) or is_remains(path))
        for path in output.iterdir()
    )
    if holds_something and output.resolve() != resumed:
        raise UserError(
            f"--output_dir {output} is in use; choose another, "
            f"or go on with its run by --resume_from {output}"
        )


def _check_writable(output: Path) -> None:
    """Try what comes later, where it will; file permissions alone do not tell.

    Raises:
        OSError: nothing can be made there.
    """
    existing = output
    while not existing.exists():
        existing = existing.parent
    tempfile.TemporaryDirectory(prefix=_TRIED, dir=existing).cleanup()
