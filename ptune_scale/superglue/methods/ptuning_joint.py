"""P-tuning with the backbone trained jointly, at two learning rates (Liu et al. 2021, section 4.2).

This is what the paper's SuperGLUE rows are measured with, few-shot and fully supervised.
"""

from dataclasses import replace

from ptune_scale.config import TrainConfig
from ptune_scale.parallel import EncoderPlacement
from ptune_scale.prompt_source import TrainedPrompts
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.finetune import on_pattern
from ptune_scale.superglue.methods.ptuning import prompt_bank, slots_of
from ptune_scale.superglue.methods.repeat import repeated
from ptune_scale.superglue.methods.result import TaskResult
from ptune_scale.superglue.trials import Trial
from ptune_scale.trainable import TrainableEncoders


def run(job: TaskJob) -> list[TaskResult]:
    """Train prompts and weights on the few records, choose the step on dev, score on test."""
    pattern = job.pattern()
    job.note_cut(job.encoder(pattern), pattern.text)
    job.note("ptuning_joint: no prompt is exported, since it belongs to weights that are not kept")
    return [
        repeated(
            job,
            "ptuning_joint",
            f"backbone trained with the tuned prompt {pattern.text}",
            job.config.grid(job.task.name, tunes_backbone=True),
            lambda name, config: _train(job, name, config),
            depends_on=(pattern.text, job.config.encoder_lr(job.task.name)),
        )
    ]


def _train(job: TaskJob, name: str, config: TrainConfig) -> Trial:
    pattern = job.pattern()
    placement = EncoderPlacement.build("replicated", job.function.mesh, 1)
    bank = prompt_bank(job, slots_of(job.encoder(pattern)), config, placement)
    of_prompts = replace(config, lr=job.config.encoder_lr(job.task.name))
    encoders = TrainableEncoders(bank, placement, of_prompts)
    trial = on_pattern(
        job,
        name,
        config,
        pattern,
        job.task.training_records(job.train),
        prompts=TrainedPrompts(encoders, [0], of_prompts),
    )
    trial["trainable_parameters"] += bank.num_parameters
    return trial
