"""A run on one's own tasks: all methods, then their results."""

from collections.abc import Sequence

from ptune_scale.parser import runnable
from ptune_scale.run.site import Site
from ptune_scale.task.answers.text import BoundText
from ptune_scale.tune import report
from ptune_scale.tune.check import CheckedTasks
from ptune_scale.tune.job import Job, MethodResult
from ptune_scale.tune.methods import METHODS
from ptune_scale.tune.scores import answers_of, build_results

_FEW_TO_CHOOSE_ON = 16


def run(checked: CheckedTasks, site: Site) -> None:
    """Run all methods and write what they came to, on all ranks.

    Raises:
        UserError: the model, a checkpoint or the layout does not fit, or results cannot be written.
        Stopped: the job was asked to stop.
    """
    job = Job.start(checked.config, checked.tasks, checked.backbone, site)
    job.trials = checked.trials
    for line in left_out(job):
        job.note(line)
    results = [result for name in checked.methods for result in METHODS[name].run(job)]
    site.world.on_main(lambda: _report(job, results))


def left_out(job: Job) -> list[str]:
    """What was not used of the tasks' files, or is slower or less sure here, a line each."""
    lines: list[str] = []
    is_chosen = any(METHODS[name].trains_prompts for name in job.config.methods)
    for task in job.tasks:
        lines += task.splits.notes
        if is_chosen and 0 < (count := len(task.splits.dev)) < _FEW_TO_CHOOSE_ON:
            lines.append(
                f"{task.name}: {count} records choose the step whose prompt is kept, which is "
                "little more than chance; name more of them, or a larger share, as dev"
            )
        lines += [
            f"{task.name}: dropped {count} x {why}"
            for why, count in task.splits.dropped.items()
            if count
        ]
    if not job.function.has_cache and any(t.wording.answer.kind == "text" for t in job.tasks):
        lines.append(
            f"layout {job.site.mesh.degrees.name} has no cache of keys and values: texts are "
            "written by a whole forward pass a token"
        )
    for asked in job.asked():
        if isinstance(asked.bound, BoundText) and (long := asked.bound.count_cut(asked.learn)):
            lines.append(
                f"{asked.task.name}: {long} answers to learn from were cut to "
                f"{asked.bound.answer.max_tokens} tokens"
            )
        cut = sum(question.cut > 0 for question in (*asked.learn, *asked.dev, *asked.test))
        if cut:
            lines.append(f"{asked.task.name}: {cut} records were cut to {asked.max_length} tokens")
    return lines


def _report(job: Job, results: Sequence[MethodResult]) -> None:
    answered = answers_of(job, results)
    summary = build_results(job, results, answered)
    report.write(job, results, answered, summary)
    print(f"\n{report.as_markdown([report.table(job, summary)], report.notes(summary))}")
    print(f"results in {job.output}/, all of them in report.html")
    if {"ptuning", "ptuning_search"} & summary["methods"].keys():
        print(
            f"use it: {runnable('predict')} --prompt {job.output}/prompt --input NEW.jsonl "
            "--output ANSWERS.jsonl"
        )
