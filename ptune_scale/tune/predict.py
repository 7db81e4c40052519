"""The command ``predict``: tuned prompts over a file; ``launchers/predict.py`` calls ``main``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptune_scale.run.command import Program, run_command
from ptune_scale.tune.config import PredictConfig

if TYPE_CHECKING:
    from ptune_scale.run.site import Site
    from ptune_scale.tune.answer_file import CheckedAnswers


def _check(config: PredictConfig) -> CheckedAnswers:
    from ptune_scale.tune.answer_file import check

    return check(config)


def _run(checked: CheckedAnswers, site: Site) -> None:
    from ptune_scale.tune.answer_file import run

    run(checked, site)


PROGRAM = Program(
    "predict",
    "Answer the records of a file with tuned prompts, in any layout. A run that was stopped goes "
    "on when it is called again.",
    """  %(prog)s --prompt out/prompt --input new.jsonl --output answers.jsonl
  %(prog)s --prompt out/prompt --task cb --input new.csv --output answers.jsonl --num_gpus 2
""",
    PredictConfig,
    _check,
    _run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
