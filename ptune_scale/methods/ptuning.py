"""P-tuning: train the prompts, keep each relation's best, score and export them."""

import functools
import time
from pathlib import Path

from ptune_scale import checkpoint
from ptune_scale.data.prepare import fill
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.export import PromptExport
from ptune_scale.job import Job
from ptune_scale.methods.result import MethodResult
from ptune_scale.parallel import EncoderPlacement, Stopped, World
from ptune_scale.progress import Scalars, bar, peak_memory_mb
from ptune_scale.prompt import PromptBank, group_members
from ptune_scale.template import Template
from ptune_scale.train import StepResult, Trainer, facts_per_visit


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
    return Trainer(
        bank,
        job.function,
        [
            RelationOrder(r.id, fill(i, r.train, template, job.tokens), size, config.train.seed)
            for i, r in enumerate(relations)
        ],
        [fill(i, r.dev, template, job.tokens) for i, r in enumerate(relations)],
        job.candidates,
        config.train,
        job.tokens.placeholder,
        placement,
    )


def _train(job: Job, trainer: Trainer) -> dict[str, float]:
    """Run the trainer, showing and saving; returns throughput of training alone."""
    every = job.config.run.checkpoint_every
    scalars = Scalars(job.output_dir / "tensorboard" if job.is_main else None, trainer.step + 1)
    facts = tokens = 0
    seconds = evaluating = 0.0
    planned = trainer.planned_steps * job.config.train.batch_size
    done = trainer.step * job.config.train.batch_size
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
                    _save(job, trainer, job.function.world)
                job.stop.check()
                started = time.perf_counter()
        except Stopped:
            # All ranks agreed to stop at this point, so they can save together.
            _save(job, trainer, job.function.world)
            raise
        except BaseException:
            # A lost rank or a bad loss: what was learned so far is whole, but other ranks may be
            # dead. The main rank saves without them if it has all encoders; if it does not, the
            # last periodic checkpoint is what remains.
            if job.is_main and trainer.encoders.placement.main_speaks_for_all:
                _save(job, trainer, World())
            raise
        finally:
            scalars.close()
    _save(job, trainer, job.function.world)
    return {
        "facts_per_second": facts / seconds if seconds else 0.0,
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "training_seconds": seconds,
        "dev_evaluation_seconds": evaluating,
        "cpu_seconds_of_this_rank": time.process_time() - cpu_started,
    }


def _save(job: Job, trainer: Trainer, world: World) -> None:
    """Write a checkpoint; all ranks of ``world`` call this together."""
    parts = trainer.encoders.parts()
    if job.is_main:
        parts["state"] = trainer.state_dict()
    directory = job.output_dir / "checkpoint"
    checkpoint.save(directory, trainer.step, parts, job.identity, job.flags, world=world)


def _load(trainer: Trainer, path: Path) -> None:
    """Take over a checkpoint, in whatever layout it was written."""
    read = functools.partial(checkpoint.load_part, path)
    trainer.load_state_dict(read("state"))
    trainer.encoders.load_parts(read)
