"""The LAMA job from command line to results; ``launchers/lama.py`` only calls ``main``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ptune_scale.errors import UserError
from ptune_scale.lama.config import LamaConfig
from ptune_scale.run.command import Program, run_command

if TYPE_CHECKING:
    from ptune_scale.lama.job import CheckedFacts
    from ptune_scale.run.site import Site


def _check(config: LamaConfig) -> CheckedFacts:
    from ptune_scale.lama.check import check

    return check(config)


def _run(checked: CheckedFacts, site: Site) -> None:
    from ptune_scale.lama.run import run

    run(checked, site)


def _add_questions(parser: argparse.ArgumentParser) -> None:
    ask = parser.add_argument_group("asking a tuned prompt instead of training")
    ask.add_argument("--prompt", metavar="DIR", help="exported prompt, the prompt folder of a run")
    ask.add_argument("--subject", help="what to ask about")
    ask.add_argument("--relation", help="id or label of one of the prompt's relations")


def _ask(typed: dict[str, Any]) -> bool:
    if "prompt" not in typed:
        return False
    if "subject" not in typed or "relation" not in typed:
        raise UserError("--prompt needs --subject and --relation")
    from ptune_scale.use.prompt import load_prompt

    prompt = load_prompt(typed["prompt"], model=typed.get("model"))
    for place, answer in enumerate(prompt.answer(typed["subject"], typed["relation"]), start=1):
        print(f"{place}. {answer.text:20s} {100 * answer.probability:5.1f} %")
    return True


PROGRAM = Program(
    "lama",
    "P-tune a frozen language model on facts, and compare with other ways to ask it.",
    """  %(prog)s --num_gpus 2 --output_dir out
  %(prog)s --data_dir LAMA --relations P103,P17 --max_steps 400 --output_dir out
  %(prog)s --data_dir LAMA --method manual,lpaqa,autoprompt,ptuning,mp_ft,ft --output_dir out
  %(prog)s --data_dir LAMA --relations P36,P1376 --objects all --output_dir out
  %(prog)s --resume_from out
  %(prog)s --prompt out/prompt --subject Norway --relation capital
""",
    LamaConfig,
    _check,
    _run,
    _add_questions,
    _ask,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
