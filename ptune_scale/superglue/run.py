"""A SuperGLUE run: one task after another, written as soon as it is done."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ptune_scale.run.site import Site
from ptune_scale.run.told import find_run
from ptune_scale.superglue import report
from ptune_scale.superglue.check import CheckedSplits
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS
from ptune_scale.train.checkpoint import read_meta
from ptune_scale.tune.job import Job


def run(checked: CheckedSplits, site: Site) -> None:
    """Run all methods on each task and write what they came to, on all ranks.

    Raises:
        UserError: the model, a checkpoint or the layout does not fit, or results cannot be written.
        Stopped: the job was asked to stop.
    """
    done = []
    for job in task_jobs(checked, site):
        results = [result for name in checked.methods for result in METHODS[name].run(job)]
        done.append(report.Done(job, results))
        # Written after each task: what is done is there to be read if the run ends early.
        site.world.on_main(lambda: report.write(done, site.output))
        if job.is_main:
            print(f"\n{report.of_task(done[-1].summary)}", flush=True)
    if site.world.is_main:
        print(f"\n{report.table(report.build_results(done)).markdown()}\n")
        print(f"results in {site.output}/, all of them in report.html")


def task_jobs(checked: CheckedSplits, site: Site) -> Iterator[TaskJob]:
    """Load the backbone in its layout, and put together one task's job after another.

    Raises:
        UserError: a layout or a checkpoint does not fit.
        Stopped: the job was asked to stop.
    """
    tasks = [each.task for each in checked.tasks]
    whole = Job.start(checked.config, tasks, checked.backbone, site)
    run = find_run(Path(checked.config.run.resume_from)) if whole.config.run.resume_from else None
    elsewhere = run if run is not None and run != site.output.resolve() else None
    for each in checked.tasks:
        site.stop.check()
        together = tasks if checked.config.ask.joint == "on" else [each.task]
        names = [task.name for task in together]
        yield TaskJob(
            config=checked.config,
            tasks=[each.task],
            backbone=whole.backbone,
            function=whole.function,
            site=replace(site, output=site.output / each.task.name),
            resume_from={
                name: path
                for name, path in whole.resume_from.items()
                if read_meta(path)["identity"].get("tasks") == names
            },
            notes=list(each.task.splits.notes),
            own=each.own,
            test_split=each.test_split,
            together=together,
            earlier=elsewhere and elsewhere / each.task.name,
        )
