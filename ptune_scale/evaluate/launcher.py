"""The command ``eval``: how good a tuned prompt is; ``launchers/eval.py`` calls ``main``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptune_scale.evaluate.config import EvalConfig
from ptune_scale.run.command import Program, run_command

if TYPE_CHECKING:
    from ptune_scale.evaluate.job import CheckedEval
    from ptune_scale.run.site import Site


def _check(config: EvalConfig) -> CheckedEval:
    from ptune_scale.evaluate.job import check

    return check(config)


def _run(checked: CheckedEval, site: Site) -> None:
    from ptune_scale.evaluate.job import run

    run(checked, site)


PROGRAM = Program(
    "eval",
    "Measure a tuned prompt on records whose right answers are known, or in lm-evaluation-harness, "
    "in any layout.",
    """  %(prog)s --prompt out/prompt --input test.jsonl
  %(prog)s --prompt out/prompt --input test.csv --metrics accuracy,mcc --output scores.json
  %(prog)s --prompt out/prompt --harness lambada_openai --limit 200
  %(prog)s --prompt out/prompt --harness ptune_cb --data_dir FewGLUE
""",
    EvalConfig,
    _check,
    _run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
