"""P-tuning with a frozen backbone: prompts alone are trained."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ptune_scale import checkpoint
from ptune_scale.config import TrainConfig
from ptune_scale.data.facts import digest
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.errors import UserError
from ptune_scale.keeper import Keeper, load
from ptune_scale.parallel import EncoderPlacement
from ptune_scale.prompt import PromptBank
from ptune_scale.run_training import run_training
from ptune_scale.superglue.export import TaskPrompt
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.repeat import repeated, settings_of
from ptune_scale.superglue.methods.result import TaskResult
from ptune_scale.superglue.problem import SuperglueProblem
from ptune_scale.superglue.question import questions_of
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.task import Record
from ptune_scale.superglue.trials import Trial
from ptune_scale.train import Trainer


def run(job: TaskJob) -> list[TaskResult]:
    """Train on the few records, once or repeatedly, choose the step on dev, score on test."""
    pattern = job.pattern()
    job.note_cut(job.encoder(pattern), pattern.text)
    return [
        repeated(
            job,
            "ptuning",
            f"frozen backbone, tuned prompt {pattern.text}",
            job.config.grid(job.task.name, tunes_backbone=False),
            lambda name, config: _train(job, name, config),
        )
    ]


def prompt_bank(
    job: TaskJob, num_slots: int, config: TrainConfig, placement: EncoderPlacement | None = None
) -> PromptBank:
    """Prompts of the job's task at the beginning of their training.

    Args:
        placement: says whether this rank holds their encoder; None where each does.
    """
    words, ask = job.backbone.embeddings.sample, job.config.ask
    return PromptBank(
        [job.task.name],
        num_slots,
        job.backbone.hidden_size,
        kind=ask.encoder,
        seed=config.seed,
        # As on facts: see ``ptune_scale.methods.prompts``.
        vector_std=float(words.std()) if ask.encoder == "none" else 1.0,
        center=words.mean(dim=0) if ask.prompt_start == "mean_word" else None,
        held=None if placement is None else placement.held,
    ).to(job.function.world.device)


def slots_of(encoder: RowEncoder) -> int:
    """Prompt slots S of the pattern that it encodes by.

    Raises:
        UserError: there is none.
    """
    pattern = encoder.pattern
    if not pattern.num_slots:
        raise UserError(f"pattern {pattern.text!r} has no prompt slot to train")
    return pattern.num_slots


def training_order(
    job: TaskJob, problem: SuperglueProblem, config: TrainConfig, records: Sequence[Record]
) -> RelationOrder:
    """Records as questions, in the order of a seed.

    Raises:
        UserError: there are none.
    """
    if not records:
        raise UserError(
            f"{job.task.name}: no training record has an answer to learn; give another file by "
            "--train_split, or more records by --train_records"
        )
    questions = questions_of(problem.encoder.encode(records, "train"))
    return RelationOrder(job.task.name, questions, config.batch_size, config.seed)


def _train(job: TaskJob, name: str, config: TrainConfig) -> Trial:
    problem = job.problem(job.encoder(job.pattern()))
    placement = EncoderPlacement.build("replicated", job.function.mesh, 1)
    bank = prompt_bank(job, slots_of(problem.encoder), config, placement)
    order = training_order(job, problem, config, job.task.training_records(job.train))
    trainer = Trainer(bank, job.function, [order], problem, config, placement)
    directory = job.output_dir / name
    settings = digest([repr((settings_of(job, config), problem.encoder.pattern.text))])
    identity = job.identity | {"trial": name, "settings": settings}
    world = job.function.world
    found = world.together(lambda: _to_go_on_from(directory, identity) if job.is_main else None)[0]
    if found is not None:
        world.together(lambda: load(trainer, found))
    keeper = Keeper(
        trainer,
        job.function.world,
        directory / "checkpoint",
        identity,
        job.flags,
        found,
    )
    throughput = run_training(
        keeper,
        job.stop,
        title=f"{job.task.name}, {name}",
        names=[job.task.name],
        checkpoint_every=job.config.run.checkpoint_every,
        tensorboard=directory / "tensorboard",
        unit="records",
    )
    prompts = trainer.selection.prompts
    if job.is_main:
        _exported(job, prompts).save(directory / "prompt")
    trial = job.scored(problem, prompts, f"{name}, test")
    return trial | {
        "steps": trainer.step,
        "best_step": trainer.selection.best_visit[0],
        "losses": trainer.losses,
        "trainable_parameters": bank.num_parameters,
        "throughput": throughput,
    }


def _to_go_on_from(directory: Path, identity: dict[str, Any]) -> Path | None:
    """The newest checkpoint of the same trial; what belongs to another one is put aside."""
    found = checkpoint.checkpoints(directory / "checkpoint")
    if found and checkpoint.read_meta(found[-1])["identity"] == identity:
        return found[-1]
    if directory.exists():
        aside = directory.with_name(f"abandoned-{directory.name}")
        shutil.rmtree(aside, ignore_errors=True)
        directory.rename(aside)
    return None


def _exported(job: TaskJob, prompts: Tensor) -> TaskPrompt:
    ask, name = job.config.ask, job.task.name
    return TaskPrompt(
        prompts,
        name,
        ask.pattern,
        ask.layout,
        job.config.num_slots(name),
        job.max_length,
        job.backbone.name,
        job.backbone.fingerprint,
    )
