"""Classification fine-tuning without a prompt: "FT" of Liu et al. 2021, Tables 3 and 4."""

from ptune_scale.backbone.classifier import NewHead
from ptune_scale.config import TrainConfig
from ptune_scale.parallel import TunedFunction
from ptune_scale.prompt import stable_seed
from ptune_scale.superglue.classification import (
    ClassificationEncoder,
    ClassificationProblem,
    Classifier,
)
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.finetune import finetuned
from ptune_scale.superglue.methods.repeat import repeated
from ptune_scale.superglue.methods.result import TaskResult
from ptune_scale.superglue.trials import Trial


def run(job: TaskJob) -> list[TaskResult]:
    """Train on all records under a new head; no word of the vocabulary stands for a label.

    WSC's records of either label are trained on: the head says whether the pronoun refers to the
    phrase. COPA's need not be mirrored: each choice is scored by itself.
    """
    encoder = ClassificationEncoder(job.task, job.backbone.tokens, job.max_length)
    job.note_cut(encoder, "ft")
    labels = {record.label for record in job.train}
    if len(labels) == 1:
        only = job.task.labels[labels.pop()]
        job.note(f"ft: all training records are {only!r}; a classifier can learn no more than that")
    patterns = [pattern.text for pattern in job.task.classify]
    return [
        repeated(
            job,
            "ft",
            f"fine-tuned under a new head, read {patterns[0]}",
            job.config.grid(job.task.name, tunes_backbone=True),
            lambda name, config: _train(job, name, config, encoder),
            depends_on=patterns,
        )
    ]


def _train(job: TaskJob, name: str, config: TrainConfig, encoder: ClassificationEncoder) -> Trial:
    def problem_of(function: TunedFunction) -> ClassificationProblem:
        classifier = Classifier(
            function,
            encoder,
            batch_size=config.eval_batch_size,
            batch_tokens=config.eval_batch_tokens,
            after_batch=lambda rows: job.stop.check(),
        )
        return ClassificationProblem(classifier, job.dev)

    head = NewHead(encoder.outputs, stable_seed(config.seed, "head", job.task.name))
    return finetuned(job, name, config, problem_of, job.train, head=head)
