"""The SuperGLUE run from command line to results; ``launchers/superglue.py`` calls ``main``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptune_scale.cli import Program
from ptune_scale.command import claimed, run_command
from ptune_scale.parallel import World
from ptune_scale.run_file import save_flags
from ptune_scale.superglue import report
from ptune_scale.superglue.assemble import build_jobs, read_run
from ptune_scale.superglue.check import TaskRecords, check
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.methods import METHODS

PROGRAM = Program(
    "superglue.py",
    "P-tune a language model on SuperGLUE tasks, and compare with other ways to use it.",
    """  %(prog)s --data_dir FewGLUE --tasks CB,RTE --method manual,ptuning --output_dir out
  %(prog)s --data_dir FewGLUE --method manual,incontext,ptuning,ptuning_joint,pet,ipet,ft
  %(prog)s --data_dir SuperGLUE --preset full --tasks RTE --method ft,pet,ptuning_joint
  %(prog)s --resume_from out
""",
    SuperglueConfig,
    read_run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments, check=check, run=_run)


def _run(
    config: SuperglueConfig,
    records: list[TaskRecords],
    flags: dict[str, Any],
    world: World,
    output: Path,
) -> None:
    with claimed(config.parallel, world, output) as (mesh, stop):
        world.on_main(lambda: save_flags(output, flags))
        names = list(dict.fromkeys(["majority", *config.methods]))
        tasks = []
        for job in build_jobs(config, records, flags, mesh, stop, output):
            results = [result for name in names for result in METHODS[name](job)]
            tasks.append(report.build_task(job, results))
            # Written after each task: what is done is there to be read if the run ends early.
            summary = report.build_results(config, mesh, tasks)
            world.on_main(lambda summary=summary: report.write(summary, output))
            if world.is_main:
                print(f"\n{report.task_table(tasks[-1])}\n", flush=True)
        if world.is_main:
            print(f"\n{report.table(summary)}\n\nresults in {output}/")
