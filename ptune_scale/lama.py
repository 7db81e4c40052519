"""The LAMA job from command line to results; ``launchers/lama.py`` only calls ``main``."""

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from filelock import FileLock, Timeout

from ptune_scale import checkpoint, report
from ptune_scale.answer import load_prompt
from ptune_scale.assemble import build_job
from ptune_scale.check import RUNS, check, degrees_of
from ptune_scale.cli import parse
from ptune_scale.config import LamaConfig, config_from_flags
from ptune_scale.data.facts import FactSet
from ptune_scale.errors import UserError
from ptune_scale.job import Job
from ptune_scale.methods import METHODS
from ptune_scale.methods.result import MethodResult
from ptune_scale.parallel import (
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    flags: dict[str, Any] = {}
    output = None
    try:
        typed, flags = parse(sys.argv[1:] if arguments is None else arguments, "lama.py")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        if hasattr(typed, "prompt"):
            return _ask(typed, flags)
        config = config_from_flags(flags)
        facts = check(config)
        if launch.needs_relaunch(config.parallel.num_gpus):
            launch.relaunch(config.parallel.num_gpus)
        with contact.kept():
            lifeline.hold()
            world = World.start()
            # Clocks differ: the first rank names the directory for all.
            named = config.run.output_dir or f"{RUNS}/{time.strftime('%Y%m%d-%H%M%S')}"
            output = Path(world.gather(named)[0])
            return _run(config, facts, flags, world, output)
    except UserError as error:
        if not launch.speaks():
            launch.wait_for_the_speaker()
        return _end(2, f"error: {error}")
    except Stopped as stopped:
        advice = _how_to_go_on(output, flags.get("resume_from"))
        return _end(stopped.exit_status, f"{stopped}; {advice}" if launch.speaks() else "")
    except LostContact as lost:
        advice = _how_to_go_on(output, flags.get("resume_from"))
        return _end(1, f"error: {lost}; {advice}" if launch.speaks() else "")
    except Exception as error:
        leave(1, error)
        raise


def _end(status: int, line: str) -> int:
    if line:
        print(f"lama.py: {line}", file=sys.stderr, flush=True)
    leave(status)
    return status


def _how_to_go_on(*places: Path | str | None) -> str:
    for place in filter(None, places):
        with contextlib.suppress(UserError, OSError):
            checkpoint.find(Path(place))
            return f"go on with --resume_from {place}"
    return "nothing to go on from was saved yet"


def _ask(typed: Any, flags: dict[str, Any]) -> int:
    if not hasattr(typed, "subject") or not hasattr(typed, "relation"):
        raise UserError("--prompt needs --subject and --relation")
    prompt = load_prompt(typed.prompt, model=flags.get("model"))
    for place, answer in enumerate(prompt.answer(typed.subject, typed.relation), start=1):
        print(f"{place}. {answer.text:20s} {100 * answer.probability:5.1f} %")
    return 0


def _run(
    config: LamaConfig, facts: FactSet, flags: dict[str, Any], world: World, output: Path
) -> int:
    mesh = Mesh.build(world, degrees_of(config, world.size))
    stop = StopSignal(world)
    stop.listen()
    lock = FileLock(output / ".lock")
    world.on_main(lambda: _claim(output, lock))
    if world.is_main and world.size > 1:
        _warn(config)
    stop.check()
    job = build_job(config, facts, flags, mesh, stop, output)
    names = list(dict.fromkeys(["majority", *config.methods]))
    results = [result for name in names for result in METHODS[name](job)]
    world.on_main(lambda: _report(job, results))
    lock.release()
    world.finish()
    return 0


def _claim(output: Path, lock: FileLock) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:  # an OSError too
        raise UserError(f"--output_dir {output} is in use by another run") from None
    except OSError as error:
        raise UserError(f"--output_dir {output}: {error.strerror}") from error


def _warn(config: LamaConfig) -> None:
    if config.parallel.encoder_placement == "owned" and config.prompt.encoder_sharing == "all":
        print(
            "lama.py: warning: --encoder_placement owned has one encoder to place; more than one "
            "rank holds encoders only with --encoder_sharing none",
            file=sys.stderr,
        )


def _report(job: Job, results: list[MethodResult]) -> None:
    output = job.output_dir
    summary = report.build_results(job, results)
    try:
        report.write(summary, output)
    except OSError as error:
        raise UserError(f"results cannot be written to {output}: {error.strerror}") from error
    print(f"\n{report.table(summary)}\n\n{report.notes(summary)}\n\nresults in {output}/")
    if "ptuning" in job.config.methods:
        print(
            f"ask it: python {sys.argv[0]} --prompt {output}/prompt "
            f"--relation {job.facts.relations[0].id} --subject NAME"
        )
