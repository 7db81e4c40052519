"""The SuperGLUE run from command line to results; ``launchers/superglue.py`` calls ``main``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptune_scale.run.command import Program, run_command
from ptune_scale.superglue.config import SuperglueConfig

if TYPE_CHECKING:
    from ptune_scale.run.site import Site
    from ptune_scale.superglue.check import CheckedSplits


def _check(config: SuperglueConfig) -> CheckedSplits:
    from ptune_scale.superglue.check import check

    return check(config)


def _run(checked: CheckedSplits, site: Site) -> None:
    from ptune_scale.superglue.run import run

    run(checked, site)


PROGRAM = Program(
    "superglue",
    "P-tune a language model on SuperGLUE tasks, and compare with other ways to use it.",
    """  %(prog)s --data_dir FewGLUE --tasks CB,RTE --method manual,ptuning --output_dir out
  %(prog)s --data_dir FewGLUE --method ptuning --joint on --output_dir out
  %(prog)s --data_dir FewGLUE --method manual,incontext,ptuning,ptuning_joint,pet,ipet,ft
  %(prog)s --data_dir SuperGLUE --preset full --tasks RTE --method ft,pet,ptuning_joint
  %(prog)s --resume_from out
""",
    SuperglueConfig,
    _check,
    _run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
