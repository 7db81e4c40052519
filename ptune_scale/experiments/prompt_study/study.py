"""A study put together and run: every prompt on the small set and on the full one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.experiments.prompt_study.config import PromptStudyConfig
from ptune_scale.experiments.prompt_study.prompts import StudyPrompt, of_relation, of_task
from ptune_scale.experiments.prompt_study.report import PromptScore, Study
from ptune_scale.lama import launcher as lama
from ptune_scale.parallel import Degrees
from ptune_scale.run.site import Site
from ptune_scale.superglue import launcher as superglue
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.results import mean_of
from ptune_scale.superglue.run import task_jobs
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.task import Task
from ptune_scale.tune.job import Job
from ptune_scale.tune.scores import heading, versions

Scores = dict[str, tuple[float, float]]
"""By the name of a prompt, its metric on the small set and on the full one."""


@dataclass(frozen=True)
class CheckedStudy:
    """What a study needs: nothing is read or opened twice.

    Attributes:
        found: what the check of LAMA or SuperGLUE found.
        task: whose manual wordings are compared; ``prompts`` are these, as they were written.
        notes: which prompts were left out.
    """

    config: PromptStudyConfig
    found: Any
    task: Task
    prompts: dict[str, StudyPrompt]
    notes: list[str]

    @property
    def degrees(self) -> Degrees:
        return self.found.degrees


def check(config: PromptStudyConfig) -> CheckedStudy:
    """Read what is asked for, and open the model.

    Raises:
        UserError: the first thing that is wrong.
    """
    asked = config.study
    program: Any = lama.PROGRAM if asked.relation else superglue.PROGRAM
    found = program.check(config.of_job())
    if len(found.tasks) != 1:
        what = "relation" if asked.relation else "task"
        raise UserError(f"--{what} {asked.relation or asked.task!r}: name one {what}")
    task: Task = found.tasks[0] if asked.relation else found.tasks[0].task
    left_out: Counter[str] = Counter()
    prompts = {} if asked.relation else of_task(task, asked.patterns)
    kind, directory = found.backbone.kind, Path(asked.data_dir)
    for prompt in of_relation(task, kind, directory, asked.prompts) if asked.relation else ():
        if isinstance(prompt, str):
            left_out[prompt] += 1
        else:
            prompts[str(len(prompts) + 1)] = prompt
    usable = _usable(prompts, task, found.backbone, left_out)
    notes = [f"left out: {count} x {why}" for why, count in left_out.items()]
    if not usable:
        raise UserError(f"{task.name}: none of its prompts can be used: {'; '.join(notes)}")
    task = replace(task, manual={name: prompt.wording for name, prompt in usable.items()})
    return CheckedStudy(config, found, task, usable, notes)


def run(checked: CheckedStudy, site: Site) -> None:
    """Score every prompt and write what came of it, on all ranks.

    Raises:
        UserError: the model or the layout does not fit, or results cannot be written.
        Stopped: the job was asked to stop.
    """
    config, task, asked = checked.config, checked.task, checked.config.study
    job, scores = (_of_facts if asked.relation else _of_task)(checked, site)
    splits, sets = task.splits, getattr(task.wording.answer, "sets", {})
    how = f"{asked.method} on {len(splits.learned)} records"
    among = next(iter(sets), "")
    words = [Path(asked.candidates).name if among == "file" else among] if among else []
    study = Study(
        model=checked.found.backbone.name,
        subject=f"{task.name}, {'zero-shot' if asked.method == 'manual' else how}",
        metric=task.select_on[0],
        candidates=among,
        small=f"{len(splits.dev)} dev records",
        full=f"{len(splits.test)} test records",
        prompts=tuple(
            PromptScore(prompt.text, prompt.source, *scores[name], dict(prompt.paper))
            for name, prompt in checked.prompts.items()
        ),
        notes=tuple(
            dict.fromkeys(
                (*(f"ranked among {w}" for w in words), *checked.notes, *splits.notes, *job.notes)
            )
        ),
    )
    also = {**heading(job), "config": config.as_dict(), "versions": versions()}
    site.world.on_main(lambda: study.write(site.output, also))


def _of_facts(checked: CheckedStudy, site: Site) -> tuple[Job, Scores]:
    task = checked.task
    job = Job.start(checked.found.config, [task], checked.found.backbone, site)
    scores = {}
    for name, wording in task.manual.items():
        asked = job.asked([wording])
        pair = []
        for part in (lambda each: each.dev, lambda each: each.test):
            if not part(asked[0]):  # a relation of a few facts has none to spare
                pair.append(0.0)
                continue
            answers = job.answers(asked, job.no_prompts, f"prompt {name}", part=part)
            pair.append(job.metrics_of(asked[0], answers[task.name], part)[task.select_on[0]])
        scores[name] = (pair[0], pair[1])
    return job, scores


def _of_task(checked: CheckedStudy, site: Site) -> tuple[Job, Scores]:
    found, method = checked.found, checked.config.study.method
    tasks = (replace(found.tasks[0], task=checked.task),)
    [job] = task_jobs(replace(found, tasks=tasks), site)
    result: Any = METHODS[method].run(job)[0]
    scores = {}
    for name in checked.prompts:
        own = [t for n, t in result.trials.items() if n == name or f"-{name}-seed" in n]
        small, full = (mean_of(own, part)[job.select_on[0]] for part in ("dev", "test"))
        scores[name] = (small, full)
    return job, scores


def _usable(
    prompts: Mapping[str, StudyPrompt], task: Task, backbone: Backbone, left_out: Counter[str]
) -> dict[str, StudyPrompt]:
    """Those that differ in what the model sees of them; others are counted, by why."""
    found: dict[Any, str] = {}
    for name, prompt in prompts.items():
        try:
            AskedTask(task, backbone.tokens, 0, wording=prompt.wording)
            seen = prompt.wording.pattern.usable_by(backbone.kind).pieces, prompt.wording.answer
        except UserError as error:
            left_out[str(error).partition(": ")[2].partition(";")[0]] += 1
            continue
        if repr(seen) in found:
            left_out["the same to this model as another"] += 1
        found.setdefault(repr(seen), name)
    return {name: prompts[name] for name in found.values()}
