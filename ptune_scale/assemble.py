"""Puts a LAMA job together: checks what was asked for, then builds what all methods share."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from ptune_scale import checkpoint
from ptune_scale.backbone import find_model, gguf, load_backbone
from ptune_scale.backbone.quantized import check_quantizable
from ptune_scale.backbone.quantized_linear import WeightBits, load_library
from ptune_scale.config import LamaConfig, config_from_flags
from ptune_scale.data.batch import Example
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.embedded import load_embedded
from ptune_scale.data.facts import FactSet, digest
from ptune_scale.data.lama import load_lama, read_vocab
from ptune_scale.data.prepare import fill, prepare
from ptune_scale.errors import UserError
from ptune_scale.job import Job
from ptune_scale.methods import METHODS
from ptune_scale.parallel import Degrees, Mesh, StopSignal, launch, parallelize, zero3
from ptune_scale.parallel.parallelize import check_backbone
from ptune_scale.template import Template
from ptune_scale.train import with_default_steps

RUNS = "runs"
"""Where results go that have no --output_dir."""

# Two runs of these flags train the same prompts; a resumed run must agree on all of them. Not
# among them is what changes rounding alone and may differ from one start to the next: the layout,
# rows_per_forward, attention and shortcuts. dtype and weight_bits are: they round the weights.
_SHAPING = (
    "dtype",
    "weight_bits",
    "template",
    "encoder",
    "encoder_sharing",
    "prompt_start",
    "batch_size",
    "batch_tokens",
    "loss_over",
    "relations_per_batch",
    "max_steps",
    "max_epochs",
    "lr",
    "schedule",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "eval_every",
    "patience",
    "seed",
    "dev_facts",
)

# What runs did before these flags were there; their checkpoints do not name them.
_BEFORE = {"batch_tokens": 0, "loss_over": "full_vocab", "weight_bits": "full"}


def check(config: LamaConfig) -> FactSet:
    """Everything that can be found wrong before ranks start or anything is written.

    Raises:
        UserError: the first thing that is wrong.
    """
    unknown = [name for name in config.methods if name not in METHODS]
    if unknown or not config.methods:
        raise UserError(f"--method {config.prompt.method!r}: choose from {', '.join(METHODS)}")
    if not Template.parse(config.prompt.template).num_slots:
        raise UserError(f"template {config.prompt.template!r} has no prompt slot [P] to train")
    data = config.data
    facts = (
        load_embedded()
        if data.data_dir == "embedded"
        else load_lama(Path(data.data_dir), data.on_bad_record)
    ).select([name.strip() for name in data.relations.split(",") if name.strip()])
    if data.candidates not in ("auto", "full_vocab", "common_vocab", "relation"):
        read_vocab(Path(data.candidates))
    if data.candidates == "common_vocab" and facts.common_vocab is None:
        raise UserError(f"--candidates common_vocab: {facts.source} has no such list")
    if config.parallel.deepspeed_config:
        dtype = getattr(torch, config.model.dtype)
        zero3.read_config(Path(config.parallel.deepspeed_config), dtype)
    degrees = degrees_of(config, config.parallel.num_gpus or launch.world_size())
    # One process has nothing to shard: a run of several can go on in it with the same flags.
    if config.parallel.deepspeed_config and degrees.zero_stage != 3 and degrees.world_size > 1:
        raise UserError(
            f"--deepspeed_config {config.parallel.deepspeed_config} with layout {degrees.name}: "
            "only ZeRO-3 (--zero_stage 3) reads it; leave it out (--deepspeed_config '' where the "
            "run resumed had it)"
        )
    _check_weight_bits(config.model.weight_bits, degrees)
    _check_loss(config, facts, degrees)
    source = find_model(config.model.model)
    if source.is_gguf:
        gguf.converted_directory(source.path, getattr(torch, config.model.dtype))
    if degrees.world_size > 1:
        dtype = getattr(torch, config.model.dtype)
        check_backbone(load_backbone(source, dtype=dtype), degrees)
    if config.model.weight_bits != "full":
        check_quantizable(load_backbone(source).empty_model())
    # Other ranks would see what the first one has begun to write.
    if launch.is_first_rank():
        output = Path(config.run.output_dir or RUNS)
        try:
            if config.run.output_dir:
                _check_output(output, config.run.resume_from)
            _check_writable(output)
        except OSError as error:
            raise UserError(f"--output_dir {output}: {error.strerror}") from error
    return facts


def degrees_of(config: LamaConfig, world_size: int) -> Degrees:
    asked = config.parallel
    return Degrees.resolve(
        world_size,
        tensor=asked.tensor_parallel,
        pipeline=asked.pipeline_parallel,
        zero_stage=asked.zero_stage,
    )


def _check_weight_bits(bits: WeightBits, degrees: Degrees) -> None:
    if bits == "full":
        return
    load_library()
    if degrees.zero_stage == 3 or degrees.tensor > 1 or degrees.pipeline > 1:
        raise UserError(
            f"--weight_bits {bits} with layout {degrees.name}: weights are rounded where they are "
            "whole, and this layout gives each rank a part of them. Use --zero_stage 0 without "
            "--tensor_parallel and --pipeline_parallel, under which each rank has all of them, or "
            "--weight_bits full"
        )


def _check_loss(config: LamaConfig, facts: FactSet, degrees: Degrees) -> None:
    if config.train.loss_over == "full_vocab":
        return
    if degrees.zero_stage == 3 or degrees.tensor > 1 or degrees.pipeline > 1:
        raise UserError(
            f"--loss_over candidates with layout {degrees.name}: the head is cut down where it is "
            "whole; use --zero_stage 0 without --tensor_parallel and --pipeline_parallel"
        )
    if _candidate_words(config.data.candidates, facts)[1] is None:
        raise UserError(
            "--loss_over candidates needs a list of words for all relations: "
            "--candidates common_vocab or a file"
        )


def _check_output(output: Path, resume_from: str) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"--output_dir {output} is not a directory")
    resumed = checkpoint.run_directory(Path(resume_from)) if resume_from else None
    holds_something = any(path.name != ".lock" for path in output.iterdir())
    if holds_something and output.resolve() != resumed:
        raise UserError(
            f"--output_dir {output} is in use; choose another, "
            f"or go on with its run by --resume_from {output}"
        )


def _check_writable(output: Path) -> None:
    """Try what comes later, where it will; file permissions alone do not tell.

    Raises:
        OSError: nothing can be made there.
    """
    existing = output
    while not existing.exists():
        existing = existing.parent
    tempfile.TemporaryDirectory(prefix=".ptune_scale-", dir=existing).cleanup()


def build_job(
    config: LamaConfig,
    facts: FactSet,
    flags: dict[str, Any],
    mesh: Mesh,
    stop: StopSignal,
    output: Path,
) -> Job:
    """Load the backbone in its layout, prepare the facts for it, and put the job together.

    Raises:
        UserError: facts, template, checkpoint or layout do not fit the model.
        Stopped: the job was asked to stop.
    """
    backbone = load_backbone(
        config.model.model,
        dtype=getattr(torch, config.model.dtype),
        attention=config.model.attention,
        shortcuts=config.shortcut.shortcuts,
        weight_bits=config.model.weight_bits,
    )
    tokens = backbone.tokens
    template = Template.parse(config.prompt.template)
    template.check(tokens.kind)
    name, words = _candidate_words(config.data.candidates, facts)
    answers = None if words is None else tokens.word_tokens(words)
    prepared = prepare(
        facts,
        tokens,
        answers=answers,
        dev_facts=config.data.dev_facts,
        test_facts=config.data.test_facts,
    )
    relations = list(enumerate(prepared.relations))
    train_examples = [fill(i, relation.train, template, tokens) for i, relation in relations]
    dev_examples = [fill(i, relation.dev, template, tokens) for i, relation in relations]
    vocab_size = backbone.vocab_size
    candidates = Candidates(
        vocab_size,
        {name: answers, "full_vocab": None},
        {"relation": [relation.train_objects for relation in prepared.relations]},
        first=name,
    )
    train = with_default_steps(config.train, len(prepared.relations))
    flags = {**flags, "max_steps": train.max_steps}
    config = config_from_flags(flags)
    values = {k: v for section in config.as_dict().values() for k, v in section.items()}
    identity = {key: values[key] for key in _SHAPING} | {
        "relations": [relation.id for relation in prepared.relations],
        "facts": facts.fingerprint(),
        # Files keep their names when their words change, and tokenizers are not in the weights.
        "candidates": name if answers is None else f"{len(answers)} tokens {digest(answers)[:32]}",
        "examples": digest(
            [
                [(example.ids, example.slots, example.targets, example.label) for example in part]
                for both in zip(train_examples, dev_examples, strict=True)
                for part in both
            ]
        ),
        "backbone": backbone.fingerprint,
    }
    resume_from = Path(config.run.resume_from) if config.run.resume_from else None
    if resume_from is not None:
        saved = _BEFORE | checkpoint.read_meta(resume_from)["identity"]
        checkpoint.check_identity(saved, identity, resume_from)
    stop.check()
    deepspeed_config = config.parallel.deepspeed_config
    function = parallelize(
        backbone,
        mesh,
        deepspeed_config=Path(deepspeed_config) if deepspeed_config else None,
        rows_per_forward=config.train.rows_per_forward or None,
        answers=_loss_words(config, answers, train_examples),
    )
    stop.check()
    return Job(
        config=config,
        facts=prepared,
        train_examples=train_examples,
        dev_examples=dev_examples,
        candidates=candidates,
        tokens=tokens,
        function=function,
        stop=stop,
        output_dir=output,
        model_name=backbone.name,
        fingerprint=backbone.fingerprint,
        hidden_size=backbone.hidden_size,
        embedding_std=float(backbone.embedding_sample.std()),
        embedding_mean=backbone.embedding_sample.mean(dim=0),
        identity=identity,
        flags={k: v for k, v in flags.items() if k not in ("resume_from", "output_dir")},
        resume_from=resume_from,
    )


def _loss_words(
    config: LamaConfig, answers: list[int] | None, examples: list[list[Example]]
) -> list[int] | None:
    if config.train.loss_over == "full_vocab":
        return None
    labels = {example.label for relation in examples for example in relation}
    return sorted({*answers, *labels})


def _candidate_words(choice: str, facts: FactSet) -> tuple[str, tuple[str, ...] | None]:
    if choice == "auto":
        choice = "common_vocab" if facts.common_vocab else "full_vocab"
    if choice == "common_vocab":
        return choice, facts.common_vocab
    if choice in ("full_vocab", "relation"):
        return choice, None
    return Path(choice).name, read_vocab(Path(choice))
