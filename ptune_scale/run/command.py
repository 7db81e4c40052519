"""From a command line to a job on all its ranks, and from whatever ends it to an exit status."""

import argparse
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from ptune_scale.errors import UserError
from ptune_scale.files import NotWritten, is_of_disk
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.parallel.launch.guard import guarded
from ptune_scale.parallel.launch.speaker import say
from ptune_scale.parser import called
from ptune_scale.progress import doing
from ptune_scale.run.config import JobConfig, RanksConfig
from ptune_scale.run.settle import build_parser, settle
from ptune_scale.run.told import RUN_FILE, named_output, told
from ptune_scale.trackers.tracker import check_trackers

if TYPE_CHECKING:
    from ptune_scale.parallel import Degrees
    from ptune_scale.run.site import Site


class CheckedJob(Protocol):
    """What a check found: all that a job needs, so that nothing is opened or resolved twice."""

    @property
    def config(self) -> RanksConfig: ...

    @property
    def degrees(self) -> "Degrees": ...


Config = TypeVar("Config", bound=RanksConfig)
Checked = TypeVar("Checked", bound=CheckedJob)


@dataclass(frozen=True)
class Program(Generic[Config, Checked]):
    """A command: its flags, and what it does with them.

    Attributes:
        name: of the command, a key of ``run.main.COMMANDS``.
        description, examples: for ``--help``.
        config: the fields of its sections are the flags.
        check: finds all that can be found wrong before ranks meet or anything is written.
        run: the job, on all ranks; what ``check`` found, and where it runs.
        extend: adds flags that are no settings of a run.
        aside: is given what was typed, does something else than a job, and says whether it did.

    ``check``, ``run`` and ``aside`` import what models need; parsing does not wait for it.
    """

    name: str
    description: str
    examples: str
    config: type[Config]
    check: Callable[[Config], Checked]
    run: Callable[[Checked, "Site"], None]
    extend: Callable[[argparse.ArgumentParser], None] | None = None
    aside: Callable[[dict[str, Any]], bool] = lambda typed: False

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """What was typed, by name.

        Raises:
            UserError: a flag is wrong.
        """
        parser = build_parser(self.name, self.description, self.examples, self.config, self.extend)
        return vars(parser.parse_args(arguments))

    def settle(self, typed: dict[str, Any]) -> Config:
        """The configuration that is meant; see ``run.settle``."""
        return settle(typed, self.config, self.name)


def run_command(program: Program[Config, Checked], arguments: Sequence[str] | None = None) -> int:
    """Parse, check, start the ranks, run; returns the exit status.

    Args:
        arguments: None for those of the process.

    Returns:
        0; 2 where the user has to change something; 128 + the number of a signal that stopped it;
        1 where another rank was lost. Each but 0 goes with one line on standard error.
    """
    with guarded(program.name):
        try:
            typed = program.parse(sys.argv[1:] if arguments is None else arguments)
            if program.aside(typed):
                return 0
            config = program.settle(typed)
            if isinstance(config, JobConfig):
                check_trackers(config.run.report_to)
            launch.check_ranks(config.parallel.num_gpus)
            if launch.needs_relaunch(config.parallel.num_gpus):
                # What ranks find wrong they say as one, so that nothing is loaded for it here.
                _become_agent(program.name, config, arguments)
        except UserError as error:
            return _refused(program.name, error)
        # A server has nothing to tell while nobody asks.
        is_job = isinstance(config, JobConfig)
        with doing(called(program.name), shown=is_job and launch.is_first_rank()):
            status = _run_job(program, config, arguments)

        from ptune_scale.parallel.world import leave

        if status:
            leave(status)
        return status


def _run_job(
    program: Program[Config, Checked], config: Config, arguments: Sequence[str] | None
) -> int:
    with no_garbage_yet():
        import transformers

        from ptune_scale.parallel import LostContact, Stopped, World
        from ptune_scale.parallel.launch import contact
        from ptune_scale.parallel.world import leave
        from ptune_scale.run.precision import check_same, say_precision, with_precision
        from ptune_scale.run.site import check_output, choose_output, claimed

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    output = None

    def interrupted(status: int, line: str) -> int:
        has_begun = output is not None and (output / RUN_FILE).is_file()
        advice = f"go on with --resume_from {output}" if has_begun else _not_begun(config)
        say(f"{called(program.name)}: {line}; {advice}")
        return status

    try:
        is_first = launch.is_first_rank()
        with no_garbage_yet(), doing("reading data and model", shown=is_first):
            settled = with_precision(config, gpu=launch.local_rank())
            checked = program.check(settled)
        say_precision(config, settled)
        if isinstance(config, JobConfig):
            check_output(config.run)
        with contact.kept():
            world = World.start()
            check_same(checked.config, world)
            # Machines may have unlike memories, by which a layout is chosen.
            degrees = world.gather(checked.degrees)[0]
            if isinstance(config, JobConfig):
                output = choose_output(config.run, world)
            with contextlib.ExitStack() as stack:
                site = stack.enter_context(claimed(world, degrees, output))
                if output is not None:
                    flags = checked.config.as_flags()
                    stack.enter_context(told(world, output, program.name, flags))
                program.run(checked, site)
            return 0
    except NotWritten as error:
        return interrupted(2, f"error: {error}")
    except UserError as error:
        return _refused(program.name, error)
    except Stopped as stopped:
        return interrupted(stopped.exit_status, str(stopped))
    except LostContact as lost:
        return interrupted(1, f"error: {lost}")
    except KeyboardInterrupt:
        return interrupted(128 + signal.SIGINT, "stopped by SIGINT")
    except Exception as error:
        if isinstance(error, OSError) and is_of_disk(error):
            return interrupted(2, f"error: {error}")
        leave(1, error)
        raise


@contextlib.contextmanager
def no_garbage_yet() -> Iterator[None]:
    """While libraries are imported, which make half a million objects that all stay, do not look
    through them for garbage again and again: that would be a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _become_agent(name: str, config: RanksConfig, arguments: Sequence[str] | None) -> NoReturn:
    place = named_output(config.run) if isinstance(config, JobConfig) else ""
    ending = launch.Ending(called(name), place, _not_begun(config))
    script, typed = _again(name, arguments)
    typed = [*typed, "--output_dir", place] if place else typed
    launch.relaunch(config.parallel.num_gpus, script, typed, ending)


def _not_begun(config: RanksConfig) -> str:
    """What to do where a run was ended that has no directory yet."""
    if not isinstance(config, JobConfig):
        return "go on by the same command"
    place = config.run.resume_from
    return f"go on with --resume_from {place}" if place else "nothing was saved yet"


def _again(name: str, arguments: Sequence[str] | None) -> tuple[list[str], Sequence[str]]:
    """The script that each rank runs, and its arguments: the same again."""
    if arguments is None:
        return [sys.argv[0]], sys.argv[1:]
    return ["-m", "ptune_scale"], [name, *arguments]


def _refused(name: str, error: UserError) -> int:
    say(f"{called(name)}: error: {error.line}", knows_alone=True)
    return 2
