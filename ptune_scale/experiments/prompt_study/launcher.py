"""The prompt study; ``launchers/prompt_study.py`` calls ``main``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptune_scale.experiments.prompt_study.config import PromptStudyConfig
from ptune_scale.run.command import Program, run_command

if TYPE_CHECKING:
    from ptune_scale.experiments.prompt_study.study import CheckedStudy
    from ptune_scale.run.site import Site


def _check(config: PromptStudyConfig) -> CheckedStudy:
    from ptune_scale.experiments.prompt_study.study import check

    return check(config)


def _run(checked: CheckedStudy, site: Site) -> None:
    from ptune_scale.experiments.prompt_study.study import run

    run(checked, site)


PROGRAM = Program(
    "prompt_study",
    "Ask a language model with many manual prompts for one relation or task, and see whether a "
    "small development set tells which one is good.",
    """  %(prog)s --data_dir LAMA --relation P17 --output_dir out
  %(prog)s --data_dir LAMA --relation P36 --prompts my_prompts.txt
  %(prog)s --data_dir FewGLUE --task RTE --output_dir out
  %(prog)s --data_dir FewGLUE --task RTE --patterns my_patterns.txt --method pet
  %(prog)s --resume_from out
""",
    PromptStudyConfig,
    _check,
    _run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
