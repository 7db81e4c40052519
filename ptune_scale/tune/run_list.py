"""A run on a directory of tasks: from its settings to the table of what became of them."""

from dataclasses import replace
from pathlib import Path

from ptune_scale.errors import PartlyDone
from ptune_scale.files import write_json
from ptune_scale.flags import MOST
from ptune_scale.parallel import Stopped
from ptune_scale.parser import runnable
from ptune_scale.reading import has_file, read_object
from ptune_scale.run.site import Site
from ptune_scale.train.checkpoint import check_identity
from ptune_scale.train.schedule import tasks_per_step, with_share_of_step
from ptune_scale.tune.check_list import CheckedList
from ptune_scale.tune.config import OwnConfig
from ptune_scale.tune.job import Job
from ptune_scale.tune.listed import EndedTask, TaskList, files_of
from ptune_scale.tune.member import NAME
from ptune_scale.tune.pool import Pool
from ptune_scale.tune.pool_report import TASKS, Summary, read_ended, write_summary

_SETTINGS = "settings.json"


def run_list(checked: CheckedList, site: Site) -> None:
    """Train all tasks of a directory and write what they came to, on all ranks.

    Raises:
        UserError: the model, the layout or the settings do not fit, or results cannot be written.
        PartlyDone: tasks failed, or files were skipped; everything else is done and written.
        Stopped: the job was asked to stop.
    """
    config, directory = checked.config, Path(checked.config.many.task_list)
    alone = _of_one(config)
    seats = tasks_per_step(config.train, config.train.tasks_per_batch)
    files = site.world.together(lambda: len(files_of(directory)))[0]
    # As much work as it will be, by which ways to compute are chosen.
    steps = min(-(-alone.train.max_steps * max(1, files) // seats), MOST - 1)
    planned = replace(config, train=replace(config.train, max_steps=steps))
    job = Job.start(planned, [checked.task], checked.backbone, site)
    job = replace(job, config=alone, tasks=[])
    site.world.on_main(lambda: _same_settings(job))
    ended = site.world.together(lambda: _ended(site.output) if site.world.is_main else [])[0]
    tasks = TaskList(directory, site.world, site.stop, checked.backbone, checked.methods, ended)
    pool = Pool(job, tasks, seats, checked.methods, [done.steps for done in ended])

    def summarize() -> Summary:
        summary = write_summary(job, tasks.refused)
        print(f"{summary.line}; all of them in {job.output}/report.html")
        return summary

    try:
        pool.train(
            follow=config.many.follow == "on", when_idle=lambda: site.world.on_main(summarize)
        )
    except Stopped:
        site.world.on_main(summarize)
        raise
    site.world.on_main(lambda: _finish(summarize(), job.output))


def _finish(summary: Summary, output: Path) -> None:
    """Say how prompts are used, and, for whoever runs this from a script, whether all is well.

    Raises:
        PartlyDone: it is not.
    """
    if summary.done:
        print(
            f"use one: {runnable('predict')} --prompt {output}/{TASKS}/NAME/prompt "
            "--input NEW.jsonl --output ANSWERS.jsonl"
        )
    if summary.undone:
        raise PartlyDone(
            f"not everything is done ({summary.undone}): {output}/results.md says why; skipped "
            f"files are looked at again with --resume_from {output}, and what failed is trained "
            f"again when its directory in {output}/{TASKS} is removed"
        )


def _of_one(config: OwnConfig) -> OwnConfig:
    """The settings of a task by itself, with an encoder of its own and its share of a step."""
    return replace(
        config,
        train=with_share_of_step(config.train),
        prompt=replace(config.prompt, encoder_sharing="none"),
    )


def _same_settings(job: Job) -> None:
    """Keep what tasks are trained with, or make sure that it is what was kept.

    Raises:
        UserError: it is not.
    """
    path, now = job.output / _SETTINGS, job.identity(NAME, [])
    if has_file(path):
        check_identity(read_object(path, "settings"), now, job.output)
    else:
        write_json(path, now)


def _ended(output: Path) -> list[EndedTask]:
    """Tasks that earlier runs are done with."""
    return [
        EndedTask(
            each["task"],
            each["file"],
            each["tasks_of_file"],
            each.get("steps", 0),
        )
        for each in read_ended(output)
    ]
