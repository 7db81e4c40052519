"""Classification fine-tuning without a prompt: "FT" of Liu et al. 2021, Tables 3 and 4."""

from functools import partial

from ptune_scale.backbone.tuned import NewHead
from ptune_scale.prompt.bank import stable_seed
from ptune_scale.superglue.classification import Classes
from ptune_scale.superglue.finetune import finetuned
from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.superglue.results import TaskMethod, TaskResult, repeated
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Wording


def run(job: TaskJob) -> list[TaskResult]:
    """Train on all records under a new head; no word of the vocabulary stands for a label.

    WSC's records of either label are trained on: the head says whether the pronoun refers to the
    phrase. COPA's need not be mirrored: each choice is scored by itself.
    """
    records, texts = job.task.splits.train, job.own.classify
    answer = Classes(tuple(job.own.labels), tuple(map(Pattern.untargeted, texts)))
    asked = job.asked_by(Wording(answer.patterns[0], answer), records)
    job.note_cut(asked, "ft")
    labels = {record.answer for record in records}
    if len(labels) == 1:
        only = labels.pop()
        job.note(f"ft: all training records are {only!r}; a classifier can learn no more than that")
    described = f"fine-tuned under a new head, read {texts[0]}"
    train = partial(_train, asked, answer.outputs)
    return [repeated(job, "ft", described, [asked], train)]


FT = TaskMethod("ft", run, "backbone trained under a new head", tunes_backbone=True)


def _train(asked: AskedTask, outputs: int, job: TaskJob, name: str) -> Trial:
    head = NewHead(outputs, stable_seed(job.config.train.seed, "head", job.task.name))
    return finetuned(asked, job, name, head=head)
