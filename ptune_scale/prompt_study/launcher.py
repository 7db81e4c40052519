"""The prompt study from command line to results; ``launchers/prompt_study.py`` calls ``main``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptune_scale.cli import Program
from ptune_scale.command import check_output, claimed, run_command
from ptune_scale.errors import UserError
from ptune_scale.parallel import World
from ptune_scale.prompt_study import report
from ptune_scale.prompt_study.config import PromptStudyConfig
from ptune_scale.prompt_study.facts import FactStudy
from ptune_scale.prompt_study.tasks import TaskStudy
from ptune_scale.run_file import save_flags
from ptune_scale.superglue.assemble import read_run

PROGRAM = Program(
    "prompt_study.py",
    "Ask a language model with many manual prompts for one relation or task, and see whether a "
    "small development set tells which one is good.",
    """  %(prog)s --data_dir LAMA --relation P17 --output_dir out
  %(prog)s --data_dir LAMA --relation P36 --prompts my_prompts.txt
  %(prog)s --data_dir FewGLUE --task RTE --output_dir out
  %(prog)s --data_dir FewGLUE --task RTE --patterns my_patterns.txt --method pet
  %(prog)s --resume_from out
""",
    PromptStudyConfig,
    read_run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(PROGRAM, arguments, check=_check, run=_run)


def _check(config: PromptStudyConfig) -> FactStudy | TaskStudy:
    study = FactStudy.of(config) if config.study.relation else TaskStudy.of(config)
    resumed = config.run.resume_from
    check_output(config.run, Path(resumed).resolve() if resumed else None)
    return study


def _run(
    config: PromptStudyConfig,
    study: FactStudy | TaskStudy,
    flags: dict[str, Any],
    world: World,
    output: Path,
) -> None:
    with claimed(config.parallel, world, output) as (mesh, stop):
        world.on_main(lambda: save_flags(output, flags))
        measured = study.measure(mesh, stop, output)
        results = report.build_results(config, mesh, measured)

        def write() -> None:
            try:
                report.write(results, measured, output)
            except OSError as error:
                raise UserError(f"results cannot be written to {output}: {error}") from error
            print(f"\n{report.table(config.model.model, measured)}\n\nresults in {output}/")

        world.on_main(write)
