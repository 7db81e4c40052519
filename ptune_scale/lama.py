"""The LAMA job from command line to results; ``launchers/lama.py`` only calls ``main``."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from filelock import FileLock, Timeout

from ptune_scale import report
from ptune_scale.answer import load_prompt
from ptune_scale.assemble import build_job, check, degrees_of
from ptune_scale.cli import parse
from ptune_scale.config import LamaConfig, config_from_flags
from ptune_scale.data.facts import FactSet
from ptune_scale.errors import UserError
from ptune_scale.methods import METHODS
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    speaks = launch.speaks()
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
            return _run(config, facts, flags)
    except UserError as error:
        if speaks:
            print(f"lama.py: error: {error}", file=sys.stderr, flush=True)
        return 2
    except Stopped as stopped:
        if speaks:
            print(f"lama.py: {stopped}; --resume_from goes on from here", file=sys.stderr)
        return stopped.exit_status
    except LostContact as lost:
        if speaks:
            output = config.run.output_dir or "OUTPUT_DIR"
            print(f"lama.py: error: {lost}; go on with --resume_from {output}", file=sys.stderr)
        return 1


def _ask(typed: Any, flags: dict[str, Any]) -> int:
    if not hasattr(typed, "subject") or not hasattr(typed, "relation"):
        raise UserError("--prompt needs --subject and --relation")
    prompt = load_prompt(typed.prompt, model=flags.get("model"))
    for place, answer in enumerate(prompt.answer(typed.subject, typed.relation), start=1):
        print(f"{place}. {answer.text:20s} {100 * answer.probability:5.1f} %")
    return 0


def _run(config: LamaConfig, facts: FactSet, flags: dict[str, Any]) -> int:
    lifeline.hold()
    world = World.start()
    mesh = Mesh.build(world, degrees_of(config, world.size))
    stop = StopSignal(world)
    stop.listen()
    # Clocks differ: the first rank names the directory for all.
    output = Path(world.gather(config.run.output_dir or time.strftime("runs/%Y%m%d-%H%M%S"))[0])
    lock = None
    if world.is_main:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"--output_dir {output} is in use by another run") from None
    job = build_job(config, facts, flags, mesh, stop, output)
    names = list(dict.fromkeys(["majority", *config.methods]))
    results = [result for name in names for result in METHODS[name](job)]
    if world.is_main:
        summary = report.build_results(job, results)
        report.write(summary, output)
        print(f"\n{report.table(summary)}\n\n{report.notes(summary)}\n\nresults in {output}/")
        if "ptuning" in config.methods:
            print(
                f"ask it: python {sys.argv[0]} --prompt {output}/prompt "
                f"--relation {job.facts.relations[0].id} --subject NAME"
            )
    if lock is not None:
        lock.release()
    world.finish()
    return 0
