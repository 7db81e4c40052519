"""P-tuning: prompts alone, beside a frozen backbone, or prompts and backbone jointly.

Jointly, at two learning rates (Liu et al. 2021, section 4.2), is what the paper's SuperGLUE rows
are measured with, few-shot and fully supervised.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ptune_scale.parallel import EncoderPlacement
from ptune_scale.superglue.finetune import finetuned
from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.superglue.results import TaskMethod, TaskResult, repeated
from ptune_scale.task.asking import AskedTask
from ptune_scale.train import checkpoint
from ptune_scale.train.trainable import TrainableEncoders, TrainedPrompts
from ptune_scale.tune.prompts import build_bank, train_prompts

JOINT = "joint"
"""The directory of prompts that were trained for all tasks together."""


def run(job: TaskJob) -> list[TaskResult]:
    """Train on the few records, once or repeatedly, choose the step on dev, score on test."""
    asked = replace(job, tasks=job.together).asked()
    [own] = [each for each in asked if each.task.name == job.task.name]
    text = own.wording.pattern.text
    job.note_cut(own, text)
    described = f"frozen backbone, tuned prompt {text}"
    if len(asked) > 1:
        described += f", trained together with {len(asked) - 1} other tasks"
    train = partial(_train, asked, own)
    return [repeated(job, "ptuning", described, asked, train, tunes_backbone=False)]


PTUNING = TaskMethod(
    "ptuning", run, "tuned prompts, frozen backbone", trains_prompts=True, asks="tuned"
)


def _train(asked: Sequence[AskedTask], own: AskedTask, job: TaskJob, name: str) -> Trial:
    identity = job.identity(name, asked)
    folders = [f if len(asked) == 1 else f.with_name(JOINT) for f in (job.output, job.earlier) if f]
    start = job.resume_from.get(name)
    if start is None:  # what was named is not in need of what else is there
        start = job.world.together(
            lambda: _to_go_on_from([f / name for f in folders], identity) if job.is_main else None
        )[0]
    trained = train_prompts(
        job,
        f"{own.task.name if len(asked) == 1 else JOINT}, {name}",
        asked,
        directory=folders[0] / name,
        resumed_from=start,
        identity=identity,
    )
    trial = job.scored(own, trained.prompts, name)
    best = trained.info.pop("best_visit_of_task")[own.task.name]
    return trial | trained.info | {"best_step": best}


def _to_go_on_from(directories: Sequence[Path], identity: dict[str, Any]) -> Path | None:
    """The newest checkpoint of the same trial; what belongs to another one is put aside."""
    for directory in directories:
        found = checkpoint.checkpoints(directory / "checkpoint")
        if found and checkpoint.read_meta(found[-1])["identity"] == identity:
            return found[-1]
    if directories[0].exists():
        aside = directories[0].with_name(f"abandoned-{directories[0].name}")
        shutil.rmtree(aside, ignore_errors=True)
        directories[0].rename(aside)
    return None


def run_jointly(job: TaskJob) -> list[TaskResult]:
    """Train prompts and weights on the few records, choose the step on dev, score on test."""
    asked = job.asked_by(job.task.wording)
    text = asked.wording.pattern.text
    job.note_cut(asked, text)
    job.note("ptuning_joint: no prompt is exported, since it belongs to weights that are not kept")
    rate = job.config.encoder_lr(job.own.few_shot)
    described = f"backbone trained with the tuned prompt {text}"
    train = partial(_train_jointly, asked, rate)
    return [repeated(job, "ptuning_joint", described, [asked], train, rate)]


JOINTLY = TaskMethod(
    "ptuning_joint",
    run_jointly,
    "tuned prompts and a backbone that trains with them",
    trains_prompts=True,
    tunes_backbone=True,
    asks="tuned",
)


def _train_jointly(asked: AskedTask, encoder_lr: float, job: TaskJob, name: str) -> Trial:
    of_prompts = replace(job.config.train, lr=encoder_lr)
    placement = EncoderPlacement.build(job.config.parallel.encoder_placement, job.site.mesh, 1)
    bank = build_bank(job, [asked], of_prompts, placement)
    encoders = TrainableEncoders(bank, placement, of_prompts)
    trial = finetuned(asked, job, name, prompts=TrainedPrompts(encoders, [0], of_prompts))
    trial["trainable_parameters"] += bank.num_parameters
    return trial
