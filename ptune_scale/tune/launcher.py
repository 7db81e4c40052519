"""The command ``tune``: prompts for tasks of one's own; ``launchers/tune.py`` calls ``main``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptune_scale.run.command import Program, run_command
from ptune_scale.tune.config import OwnConfig

if TYPE_CHECKING:
    from ptune_scale.run.site import Site
    from ptune_scale.tune.check import CheckedTasks
    from ptune_scale.tune.check_list import CheckedList


def _check(config: OwnConfig) -> CheckedTasks | CheckedList:
    from ptune_scale.tune.check import check
    from ptune_scale.tune.check_list import check_list

    return check_list(config) if config.many.task_list else check(config)


def _run(checked: CheckedTasks | CheckedList, site: Site) -> None:
    from ptune_scale.tune.check import CheckedTasks
    from ptune_scale.tune.run import run
    from ptune_scale.tune.run_list import run_list

    if isinstance(checked, CheckedTasks):
        run(checked, site)
    else:
        run_list(checked, site)


PROGRAM = Program(
    "tune",
    "Tune prompts of a frozen language model for tasks of your own, and compare with manual ones.",
    """  %(prog)s --task tickets.toml --output_dir out
  %(prog)s --train tickets.csv --pattern "{title}. {body...} [P]*4 Category: [Y]" \\
      --answer category --output_dir out
  %(prog)s --task cb.toml --task capitals.toml --num_gpus 2 --output_dir out
  %(prog)s --task_list many/ --output_dir out
  %(prog)s --resume_from out
""",
    OwnConfig,
    _check,
    _run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments)
