"""P-tuning: train the prompts, keep each relation's best, score and export them."""

import functools
import time
from pathlib import Path

import torch

from ptune_scale import checkpoint
from ptune_scale.data.prepare import fill
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.errors import UserError
from ptune_scale.export import PromptExport
from ptune_scale.job import Job
from ptune_scale.methods.result import MethodResult
from ptune_scale.parallel import EncoderPlacement, Stopped, World, contact
from ptune_scale.progress import Scalars, bar, peak_memory_mb
from ptune_scale.prompt import PromptBank, group_members
from ptune_scale.template import Template
from ptune_scale.train import Diverged, StepResult, Trainer, facts_per_visit, tokens_per_visit

# Ends of a run that say nothing against what it has learned.
_ACCIDENTS = (OSError, MemoryError, torch.OutOfMemoryError, KeyboardInterrupt)


def run(job: Job) -> list[MethodResult]:
    """Train (or go on training), export, and score on the test facts."""
    template = Template.parse(job.config.prompt.template)
    trainer = build_trainer(job, template)
    if job.resume_from is not None:
        job.function.world.together(lambda: _load(trainer, job.resume_from))
    trained = _train(job, trainer)
    prompts = trainer.selection.prompts
    if job.is_main:
        export = PromptExport(
            prompts,
            tuple(r.id for r in job.facts.relations),
            tuple(r.label for r in job.facts.relations),
            template,
            job.model_name,
            job.fingerprint,
            job.config.model.weight_bits,
        )
        export.save(job.output_dir / "prompt")
    job.training = {
        "steps": trainer.step,
        "final_loss": trainer.losses[-1] if trainer.losses else None,
        "losses": trainer.losses,
        "best_visit_of_relation": {
            r.id: visit
            for r, visit in zip(job.facts.relations, trainer.selection.best_visit, strict=True)
        },
        "trainable_parameters": trainer.bank.num_parameters,
        "encoder_placement": trainer.encoders.placement.kind,
        "encoder_bytes_per_rank": trainer.encoders.bytes_held(),
    }
    job.throughput = trained
    examples = [
        example
        for index, relation in enumerate(job.facts.relations)
        for example in fill(index, relation.test, template, job.tokens)
    ]
    ranks = job.rank(examples, prompts, "tuned prompt")[:, 0]
    return [MethodResult("ptuning", f"tuned prompt {template.pattern}", ranks)]


def build_trainer(job: Job, template: Template) -> Trainer:
    """A trainer at step 0 for the job's relations."""
    config = job.config
    relations = job.facts.relations
    placement = EncoderPlacement.build(
        config.parallel.encoder_placement,
        job.function.mesh,
        len(group_members(len(relations), config.prompt.encoder_sharing)),
    )
    bank = PromptBank(
        [relation.id for relation in relations],
        template.num_slots,
        job.hidden_size,
        kind=config.prompt.encoder,
        sharing=config.prompt.encoder_sharing,
        seed=config.train.seed,
        # Without an encoder the vectors go straight in among word embeddings, so they start at
        # that scale; an encoder gets the standard normal of the published code.
        vector_std=job.embedding_std if config.prompt.encoder == "none" else 1.0,
        center=job.embedding_mean if config.prompt.prompt_start == "mean_word" else None,
        held=placement.held,
    ).to(job.function.world.device)
    size = facts_per_visit(config.train, len(relations))
    tokens = tokens_per_visit(config.train, len(relations))
    return Trainer(
        bank,
        job.function,
        [
            RelationOrder(relation.id, examples, size, config.train.seed, tokens_per_visit=tokens)
            for relation, examples in zip(relations, job.train_examples, strict=True)
        ],
        job.dev_examples,
        job.candidates,
        config.train,
        job.tokens.placeholder,
        placement,
    )


def _train(job: Job, trainer: Trainer) -> dict[str, float]:
    """Run the trainer, showing and saving.

    Returns:
        throughput of training alone; {} if nothing was left to train.

    Raises:
        Stopped: after a checkpoint was saved.
        UserError: training has diverged; the message names the last checkpoint.
        RuntimeError: the ranks' encoders differ; nothing is saved.
    """
    every = job.config.run.checkpoint_every
    keeper = _Keeper(job, trainer)
    scalars = Scalars(job.output_dir / "tensorboard" if job.is_main else None, trainer.step + 1)
    facts = tokens = 0
    seconds = evaluating = 0.0
    planned, done = trainer.facts_in(trainer.budgets), trainer.facts_in(trainer.visits)
    started = time.perf_counter()
    cpu_started = time.process_time()
    with bar("P-tuning", planned, "facts", shown=job.is_main, initial=done) as progress:
        try:
            for event in trainer.train():
                now = time.perf_counter()
                if isinstance(event, StepResult):
                    seconds += now - started
                    facts += event.facts
                    tokens += event.tokens
                    progress.update(event.facts)
                    scalars.add(
                        {
                            "train/loss": event.loss,
                            "train/lr": event.lr,
                            "throughput/facts_per_second": event.facts / (now - started),
                            "memory/peak_mb": peak_memory_mb(),
                        },
                        event.step,
                    )
                else:
                    evaluating += now - started
                    best = trainer.selection.best
                    mean = sum(best) / len(best)
                    progress.set_postfix(loss=f"{trainer.losses[-1]:.2f}", dev=f"{mean:.3f}")
                    scalars.add(
                        {
                            f"dev_p_at_1/{job.facts.relations[r].id}": score.p_at_1
                            for r, score in event.scores.items()
                        },
                        event.step,
                    )
                if every and isinstance(event, StepResult) and event.step % every == 0:
                    keeper.save()
                job.stop.check()
                started = time.perf_counter()
        except Stopped:
            # All ranks agreed to stop at this point, so they can save together.
            keeper.save()
            raise
        except Diverged as error:
            raise UserError(f"{error}; {keeper.remains}") from error
        except BaseException as error:
            # Any other error may come of a state that is wrong. Saved, it would be the newest
            # checkpoint, and one that is right would be removed for it.
            if contact.loss_of_contact(error) is None and not isinstance(error, _ACCIDENTS):
                error.add_note(f"Nothing was saved: {keeper.remains}.")
            else:
                keeper.save_alone()
            raise
        finally:
            scalars.close()
    keeper.save()
    if not facts:
        if job.is_main:
            print(f"P-tuning: nothing is left to train after step {trainer.step}")
        return {}
    return {
        "facts_per_second": facts / seconds,
        "tokens_per_second": tokens / seconds,
        "training_seconds": seconds,
        "dev_evaluation_seconds": evaluating,
        "cpu_seconds_of_this_rank": time.process_time() - cpu_started,
    }


class _Keeper:
    """Saves a run's checkpoints, each step's once."""

    def __init__(self, job: Job, trainer: Trainer) -> None:
        self.job = job
        self.trainer = trainer
        self.directory = job.output_dir / "checkpoint"
        self.begun_at = trainer.step
        self.saved: int | None = None

    @property
    def remains(self) -> str:
        """What there is if nothing more is saved."""
        if self.saved is not None:
            return f"the last checkpoint is that of step {self.saved}"
        if self.job.resume_from is not None:
            return f"the last checkpoint is {self.job.resume_from}, of step {self.begun_at}"
        return "there is no checkpoint yet"

    def save(self) -> None:
        """Write a checkpoint; all ranks call this together.

        Raises:
            RuntimeError: the ranks' encoders differ.
        """
        if self.saved != self.trainer.step:
            self.trainer.encoders.check_replicas(range(len(self.job.facts.relations)))
            self._write(self.job.function.world)

    def save_alone(self) -> None:
        """Write what can be written without the other ranks, which may be dead.

        That is everything if the main rank has all encoders. If it does not, the last checkpoint
        that all ranks made is what remains.
        """
        main_has_all = self.job.is_main and self.trainer.encoders.placement.main_speaks_for_all
        if main_has_all and self.trainer.is_whole and self.saved != self.trainer.step:
            self._write(World())

    def _write(self, world: World) -> None:
        parts = self.trainer.encoders.parts()
        if self.job.is_main:
            parts["state"] = self.trainer.state_dict()
        world.together(self._abandon_later_ones)
        step, job = self.trainer.step, self.job
        checkpoint.save(self.directory, step, parts, job.identity, job.flags, world=world)
        self.saved = step

    def _abandon_later_ones(self) -> None:
        if self.job.is_main and self.saved is None:
            checkpoint.abandon_after(self.directory, self.begun_at)


def _load(trainer: Trainer, path: Path) -> None:
    """Take over a checkpoint, in whatever layout it was written."""
    read = functools.partial(checkpoint.load_part, path)
    trainer.load_state_dict(read("state"))
    trainer.encoders.load_parts(read)
