"""What all methods that train prompts share: training, exporting and scoring a setup."""

from ptune_scale.data.sampler import RelationOrder
from ptune_scale.export import PromptExport
from ptune_scale.job import Job
from ptune_scale.keeper import Keeper, load
from ptune_scale.methods.result import MethodResult
from ptune_scale.parallel import EncoderPlacement
from ptune_scale.problem import FactProblem
from ptune_scale.prompt import PromptBank, group_members
from ptune_scale.prompt_setup import PromptSetup
from ptune_scale.run_training import run_training
from ptune_scale.train import Trainer, facts_per_visit, tokens_per_visit


def train_prompts(job: Job, setup: PromptSetup) -> list[MethodResult]:
    """Train (or go on training), export, and score on the test facts."""
    job.function.world.seed_noise(job.config.train.seed, setup.name)
    trainer = build_trainer(job, setup)
    directory, resumed_from = setup.directory(job.output_dir), job.resume_from.get(setup.name)
    if resumed_from is not None:
        job.function.world.together(lambda: load(trainer, resumed_from))
    keeper = Keeper(
        trainer,
        job.function.world,
        directory / "checkpoint",
        job.identity | setup.identity,
        job.flags,
        resumed_from,
    )
    relations = job.facts.relations
    throughput = run_training(
        keeper,
        job.stop,
        title="P-tuning" if setup.name == "ptuning" else setup.name,
        names=[relation.id for relation in relations],
        checkpoint_every=job.config.run.checkpoint_every,
        tensorboard=directory / "tensorboard",
    )
    prompts = trainer.selection.prompts
    if job.is_main:
        export = PromptExport(
            prompts,
            tuple(r.id for r in relations),
            tuple(r.label for r in relations),
            setup.templates,
            job.backbone.name,
            job.backbone.fingerprint,
            job.config.model.weight_bits,
        )
        export.save(directory / "prompt")
    best = zip(relations, trainer.selection.best_visit, strict=True)
    job.training[setup.name] = {
        "steps": trainer.step,
        "final_loss": trainer.losses[-1] if trainer.losses else None,
        "losses": trainer.losses,
        "best_visit_of_relation": {r.id: visit for r, visit in best},
        "trainable_parameters": trainer.bank.num_parameters,
        "encoder_placement": trainer.encoders.placement.kind,
        "encoder_bytes_per_rank": trainer.encoders.bytes_held(),
    }
    job.throughput[setup.name] = throughput
    examples = [example for relation in setup.test for example in relation]
    ranks = job.rank(examples, prompts, f"{setup.name}, test")[:, setup.scored]
    return [MethodResult(setup.name, setup.description, ranks)]


def build_trainer(job: Job, setup: PromptSetup) -> Trainer:
    """A trainer at step 0 for the job's relations."""
    config, relations = job.config, job.facts.relations
    placement = EncoderPlacement.build(
        config.parallel.encoder_placement,
        job.function.mesh,
        len(group_members(len(relations), config.prompt.encoder_sharing)),
    )
    words = job.backbone.embeddings.sample
    bank = PromptBank(
        [relation.id for relation in relations],
        setup.num_slots,
        job.backbone.hidden_size,
        kind=config.prompt.encoder,
        sharing=config.prompt.encoder_sharing,
        seed=config.train.seed,
        # Without an encoder the vectors go straight in among word embeddings, so they start at
        # that scale; an encoder gets the standard normal of the published code.
        vector_std=float(words.std()) if config.prompt.encoder == "none" else 1.0,
        center=words.mean(dim=0) if config.prompt.prompt_start == "mean_word" else None,
        start=setup.start,
        held=placement.held,
    ).to(job.function.world.device)
    size = facts_per_visit(config.train, len(relations))
    tokens = tokens_per_visit(config.train, len(relations))
    orders = [
        RelationOrder(
            relation.id,
            examples,
            size,
            config.train.seed,
            tokens_per_visit=tokens,
        )
        for relation, examples in zip(relations, setup.train, strict=True)
    ]
    problem = FactProblem(
        job.function,
        setup.dev,
        job.candidates,
        config.train,
        job.tokens.placeholder,
        setup.scored,
    )
    return Trainer(bank, job.function, orders, problem, config.train, placement)
