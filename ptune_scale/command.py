"""From a command line to a job on all its ranks, and from whatever ends it to an exit status."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import transformers
from filelock import FileLock, Timeout

from ptune_scale.cli import Program, parse
from ptune_scale.config import ParallelConfig, RunConfig
from ptune_scale.errors import UserError
from ptune_scale.parallel import (
    Degrees,
    LostContact,
    Mesh,
    Stopped,
    StopSignal,
    World,
    contact,
    launch,
    lifeline,
)
from ptune_scale.parallel.world import leave

RUNS = "runs"
"""Where results go that have no --output_dir."""

Config = TypeVar("Config")
Checked = TypeVar("Checked")


def run_command(
    program: Program,
    arguments: Sequence[str] | None,
    *,
    check: Callable[[Config], Checked],
    run: Callable[[Config, Checked, dict[str, Any], World, Path], None],
    aside: Callable[[Any, dict[str, Any]], bool] = lambda typed, flags: False,
) -> int:
    """Parse, check, start the ranks, run; returns the exit status.

    Args:
        program: its configuration has sections ``parallel`` and ``run``.
        arguments: None for those of the process.
        check: everything that can be found wrong before ranks start or anything is written.
        run: the job; it is given the directory of its results.
        aside: does what is asked for instead of a job, and says whether it did.
    """
    flags: dict[str, Any] = {}
    output = None

    def end(status: int, line: str) -> int:
        if line:
            print(f"{program.name}: {line}", file=sys.stderr, flush=True)
        leave(status)
        return status

    def how_to_go_on() -> str:
        for place in filter(None, (output, flags.get("resume_from"))):
            with contextlib.suppress(UserError, OSError):
                program.resume(Path(place))
                return f"go on with --resume_from {place}"
        return "nothing to go on from was saved yet"

    try:
        typed, flags = parse(sys.argv[1:] if arguments is None else arguments, program)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        if aside(typed, flags):
            return 0
        config = program.config.from_flags(flags)
        checked = check(config)
        parallel: ParallelConfig = config.parallel
        if launch.needs_relaunch(parallel.num_gpus):
            launch.relaunch(parallel.num_gpus)
        with contact.kept():
            lifeline.hold()
            world = World.start()
            # Clocks differ: the first rank names the directory for all.
            named = config.run.output_dir or f"{RUNS}/{time.strftime('%Y%m%d-%H%M%S')}"
            output = Path(world.gather(named)[0])
            run(config, checked, flags, world, output)
            return 0
    except UserError as error:
        if not launch.speaks():
            launch.wait_for_the_speaker()
        return end(2, f"error: {error}")
    except Stopped as stopped:
        advice = how_to_go_on()
        return end(stopped.exit_status, f"{stopped}; {advice}" if launch.speaks() else "")
    except LostContact as lost:
        advice = how_to_go_on()
        return end(1, f"error: {lost}; {advice}" if launch.speaks() else "")
    except Exception as error:
        leave(1, error)
        raise


def degrees_of(asked: ParallelConfig, world_size: int) -> Degrees:
    """The layout that the flags mean for so many ranks."""
    return Degrees.resolve(
        world_size,
        tensor=asked.tensor_parallel,
        pipeline=asked.pipeline_parallel,
        zero_stage=asked.zero_stage,
    )


@contextlib.contextmanager
def claimed(asked: ParallelConfig, world: World, output: Path) -> Iterator[tuple[Mesh, StopSignal]]:
    """The mesh and the stop signal of a job that has its output directory to itself.

    Ends the job on all ranks together where the body ends well; several ranks do not return.

    Raises:
        UserError: the directory is in use or cannot be made.
    """
    mesh = Mesh.build(world, degrees_of(asked, world.size))
    stop = StopSignal(world)
    stop.listen()
    lock = FileLock(output / ".lock")
    world.on_main(lambda: _claim(output, lock))
    yield mesh, stop
    lock.release()
    world.finish()


def _claim(output: Path, lock: FileLock) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:  # an OSError too
        raise UserError(f"--output_dir {output} is in use by another run") from None
    except OSError as error:
        raise UserError(f"--output_dir {output}: {error.strerror}") from error


def check_output(run: RunConfig, resumed: Path | None) -> None:
    """Make sure that results can be written; the first rank does it, others would see its files.

    Args:
        resumed: the output directory of the run to go on with, if there is one.

    Raises:
        UserError: the directory is in use, or nothing can be made there.
    """
    if not launch.is_first_rank():
        return
    output = Path(run.output_dir or RUNS)
    try:
        if run.output_dir and output.exists():
            _check_empty(output, resumed)
        _check_writable(output)
    except OSError as error:
        raise UserError(f"--output_dir {output}: {error.strerror}") from error


def _check_empty(output: Path, resumed: Path | None) -> None:
    if not output.is_dir():
        raise UserError(f"--output_dir {output} is not a directory")
    holds_something = any(path.name != ".lock" for path in output.iterdir())
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
    tempfile.TemporaryDirectory(prefix=".ptune_scale-", dir=existing).cleanup()
