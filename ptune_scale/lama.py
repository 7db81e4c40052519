"""The LAMA job from command line to results; ``launchers/lama.py`` only calls ``main``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptune_scale import checkpoint, report
from ptune_scale.answer import load_prompt
from ptune_scale.assemble import build_job
from ptune_scale.check import check
from ptune_scale.cli import Program
from ptune_scale.command import claimed, run_command
from ptune_scale.config import LamaConfig
from ptune_scale.data.facts import FactSet
from ptune_scale.errors import UserError
from ptune_scale.job import Job
from ptune_scale.methods import METHODS
from ptune_scale.methods.result import MethodResult
from ptune_scale.parallel import World
from ptune_scale.run_file import read_flags, save_flags


def _add_questions(parser: argparse.ArgumentParser) -> None:
    ask = parser.add_argument_group("asking a tuned prompt instead of training")
    ask.add_argument("--prompt", metavar="DIR", help="exported prompt, the prompt folder of a run")
    ask.add_argument("--subject", help="what to ask about")
    ask.add_argument("--relation", help="id or label of one of the prompt's relations")


def _resume(path: Path) -> dict[str, Any]:
    """Flags of the run that a directory or checkpoint belongs to."""
    meant = checkpoint.find(path)
    run = checkpoint.run_directory(meant)
    same_place = {"output_dir": str(run)} if run else {}
    # A run that went on with other methods was told so after that checkpoint was written.
    latest = (read_flags(run) if run else None) or {}
    saved = {**checkpoint.read_meta(meant)["flags"], **latest}
    return {**saved, **same_place, "resume_from": str(meant)}


PROGRAM = Program(
    "lama.py",
    "P-tune a frozen language model on facts, and compare with other ways to ask it.",
    """  %(prog)s --num_gpus 2 --output_dir out
  %(prog)s --data_dir LAMA --relations P103,P17 --max_steps 400 --output_dir out
  %(prog)s --data_dir LAMA --method manual,lpaqa,autoprompt,ptuning,mp_ft,ft --output_dir out
  %(prog)s --resume_from out
  %(prog)s --prompt out/prompt --subject Norway --relation capital
""",
    LamaConfig,
    _resume,
    _add_questions,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments, check=check, run=_run, aside=_ask)


def _ask(typed: Any, flags: dict[str, Any]) -> bool:
    if not hasattr(typed, "prompt"):
        return False
    if not hasattr(typed, "subject") or not hasattr(typed, "relation"):
        raise UserError("--prompt needs --subject and --relation")
    prompt = load_prompt(typed.prompt, model=flags.get("model"))
    for place, answer in enumerate(prompt.answer(typed.subject, typed.relation), start=1):
        print(f"{place}. {answer.text:20s} {100 * answer.probability:5.1f} %")
    return True


def _run(
    config: LamaConfig, facts: FactSet, flags: dict[str, Any], world: World, output: Path
) -> None:
    with claimed(config.parallel, world, output) as (mesh, stop):
        if world.is_main and world.size > 1:
            _warn(config)
        stop.check()
        job = build_job(config, facts, flags, mesh, stop, output)
        world.on_main(lambda: save_flags(output, job.flags))
        names = list(dict.fromkeys(["majority", *config.methods]))
        results = [result for name in names for result in METHODS[name](job)]
        world.on_main(lambda: _report(job, results))


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
