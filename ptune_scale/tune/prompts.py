"""Training prompts with a frozen backbone: P-tuning, whatever the tasks.

Shapes: R tasks, S prompt slots, H embedding size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.parallel import EncoderPlacement
from ptune_scale.prompt.bank import EncoderPlan, PromptBank, group_members, plan_encoders
from ptune_scale.run.config import PromptConfig
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.task import Wording
from ptune_scale.train import checkpoint
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.problem import Problem
from ptune_scale.train.schedule import records_per_visit, tokens_per_visit, with_default_steps
from ptune_scale.train.session import Keeper, load, run_training
from ptune_scale.train.trainer import Trainer
from ptune_scale.tune.job import Job
from ptune_scale.use.export import ExportedTask, PromptExport


@dataclass(frozen=True)
class Trained:
    """What came of training.

    Attributes:
        prompts: (R, S, H), of each task the one that was chosen on dev.
        info: steps, losses, throughput and the like, for results.json.
        dev: metrics of the last evaluation on dev, by task.
    """

    prompts: Tensor
    info: dict[str, Any]
    dev: dict[str, dict[str, float]]


def train_prompts(
    job: Job,
    name: str,
    asked: Sequence[AskedTask],
    *,
    directory: Path,
    config: TrainConfig | None = None,
    start: Tensor | None = None,
    resumed_from: Path | None = None,
    identity: dict[str, Any] | None = None,
    exported: Sequence[Wording] | None = None,
    exports: bool = True,
    trainer: Trainer | None = None,
) -> Trained:
    """Train (or go on training) and export.

    Args:
        name: of the method.
        directory: where checkpoints, curves and the exported prompt go.
        config: None for the job's.
        start: (R, S, H), what the prompts begin as; None for what the flags say.
        resumed_from: a checkpoint to go on from.
        identity: what the checkpoint must agree on; None for the job's.
        exported: how the prompts are asked by whoever loads them; None for as they are trained.
        exports: whether they are of use to anybody.
        trainer: at step 0; None for one of the job's settings.

    Raises:
        UserError: there is no slot to train, the checkpoint is of another run, or training has
            diverged.
        Stopped: after a checkpoint was saved.
    """
    keeper = begin(
        job,
        name,
        asked,
        directory=directory,
        config=config,
        start=start,
        resumed_from=resumed_from,
        identity=identity,
        trainer=trainer,
    )
    throughput = run_training(
        keeper,
        job.stop,
        title=name,
        names=[task.task.name for task in asked],
        checkpoint_every=job.config.run.checkpoint_every,
        curves=job.curves(name, directory, keeper.trainer.step + 1),
    )
    trained = found_by(keeper.trainer, job, asked, throughput)
    # Of this process alone: a run that went on computed some texts again.
    trained.info["text_tokens"] = job.function.kept_texts
    if exports:
        export = export_of(job, asked, trained.prompts, exported)
        job.world.on_main(lambda: export.save(directory / "prompt"))
    return trained


def begin(
    job: Job,
    name: str,
    asked: Sequence[AskedTask],
    *,
    directory: Path,
    config: TrainConfig | None = None,
    start: Tensor | None = None,
    resumed_from: Path | None = None,
    identity: dict[str, Any] | None = None,
    trainer: Trainer | None = None,
) -> Keeper:
    """A training at its first step, or where a checkpoint has it; see ``train_prompts``.

    Raises:
        UserError: there is no slot to train, or the checkpoint is of another run.
    """
    without = [task.task.name for task in asked if not task.num_slots]
    if without:
        raise UserError(
            f"the pattern of {', '.join(without)} has no prompt slot [P] to train; write [P]*4, "
            "say, where the slots are to stand"
        )
    config = config or job.config.train
    if config.max_steps < 0 and resumed_from is not None:
        config = replace(config, max_steps=_steps_begun_with(job, resumed_from))
    config = with_default_steps(config, len(asked))
    identity = identity or job.identity(name, asked) | {"max_steps": config.max_steps}
    trainer = trainer or build_trainer(job, asked, config, start, job.problem(asked))
    if resumed_from is not None:
        path = resumed_from

        def take_over() -> None:
            checkpoint.check_identity(checkpoint.read_meta(path)["identity"], identity, path)
            load(trainer, path)

        job.world.together(take_over)
    return Keeper(
        trainer,
        job.world,
        directory / "checkpoint",
        identity,
        job.config.as_flags(),
        resumed_from,
    )


def _steps_begun_with(job: Job, path: Path) -> int:
    """What a default came to when the training of a checkpoint was begun; -1 if it does not say."""

    def read() -> int:
        steps = checkpoint.read_meta(path)["identity"].get("max_steps")
        return steps if isinstance(steps, int) else -1

    return job.world.together(read)[0]


def found_by(
    trainer: Trainer, job: Job, asked: Sequence[AskedTask], throughput: dict[str, float]
) -> Trained:
    """What came of a training that has ended."""
    names = [task.task.name for task in asked]
    info = {
        "steps": trainer.step,
        "final_loss": trainer.losses[-1] if trainer.losses else None,
        "losses": trainer.losses,
        "dev_curve": {name: trainer.dev_curve(r) for r, name in enumerate(names)},
        "best_visit_of_task": dict(zip(names, trainer.selection.best_visit, strict=True)),
        "stopped_early": [n for n, s in zip(names, trainer.selection.stopped, strict=True) if s],
        "trainable_parameters": trainer.bank.num_parameters,
        "encoder_placement": trainer.encoders.placement.kind,
        "encoder_bytes_per_rank": trainer.encoders.bytes_held(),
        "throughput": throughput,
    }
    dev = getattr(trainer.problem, "metrics", {})
    scores = {asked[i].task.name: found for i, found in dev.items()}
    return Trained(trainer.selection.prompts, info, scores)


def build_bank(
    job: Job,
    asked: Sequence[AskedTask],
    config: TrainConfig,
    placement: EncoderPlacement | None,
    start: Tensor | None = None,
) -> PromptBank:
    """The prompts of tasks at the beginning of their training.

    Args:
        placement: says which encoders this rank holds; None for all.
    """
    names, slots = [task.task.name for task in asked], max(task.num_slots for task in asked)
    encoders = planned_encoders(job, names, slots, job.config.prompt, config.seed, start)
    held = None if placement is None else placement.held
    bank = PromptBank(names, slots, job.backbone.hidden_size, encoders, held=held)
    return bank.to(job.world.device)


def planned_encoders(
    job: Job,
    names: Sequence[str],
    num_slots: int,
    prompt: PromptConfig,
    seed: int,
    start: Tensor | None = None,
) -> list[EncoderPlan]:
    """How the encoders of tasks are to begin.

    Args:
        start: (R, S, H), what the prompts begin as; None for what ``prompt`` says.
    """
    words = job.backbone.embeddings
    return plan_encoders(
        names,
        num_slots,
        kind=prompt.encoder,
        sharing=prompt.encoder_sharing,
        seed=seed,
        # Without an encoder the vectors go straight in among word embeddings, so they start at
        # that scale; an encoder gets the standard normal of the published code.
        vector_std=words.spread if prompt.encoder == "none" else 1.0,
        center=words.center if prompt.prompt_start == "mean_word" else None,
        start=start,
    )


def build_trainer(
    job: Job,
    asked: Sequence[AskedTask],
    config: TrainConfig,
    start: Tensor | None,
    problem: Problem,
    placement: EncoderPlacement | None = None,
) -> Trainer:
    """A trainer at step 0.

    Args:
        placement: of its encoders; None for what the flags say of them.
    """
    config = with_default_steps(config, len(asked))
    groups = group_members(len(asked), job.config.prompt.encoder_sharing)
    placement = placement or EncoderPlacement.build(
        job.config.parallel.encoder_placement, job.site.mesh, len(groups)
    )
    bank = build_bank(job, asked, config, placement, start)
    size, tokens = records_per_visit(config, len(asked)), tokens_per_visit(config, len(asked))
    orders = [
        TaskOrder(task.task.name, task.learn, size, config.seed, tokens_per_visit=tokens)
        for task in asked
    ]
    return Trainer(bank, job.function, orders, problem, config, placement)


def export_of(
    job: Job,
    asked: Sequence[AskedTask],
    prompts: Tensor,
    wordings: Sequence[Wording] | None = None,
) -> PromptExport:
    """Prompts with all that is needed to ask them, in other wordings than the tasks' if given."""
    wordings = wordings or [task.wording for task in asked]
    return PromptExport(
        prompts,
        tuple(
            ExportedTask(
                task.task.name, task.task.label, wording, task.max_length, task.task.columns
            )
            for task, wording in zip(asked, wordings, strict=True)
        ),
        job.backbone.name,
        job.backbone.fingerprint,
        job.backbone.weight_bits,
        job.backbone.tokens.digest,
    )


def start_from_words(words: Sequence[Sequence[int]], job: Job) -> Tensor:
    """Embeddings of each task's tokens, (R, S, H); rows beyond them are zero."""
    start = torch.zeros(len(words), max(map(len, words)), job.backbone.hidden_size)
    for row, tokens in zip(start, words, strict=True):
        row[: len(tokens)] = job.backbone.embeddings.of(tokens)
    return start
