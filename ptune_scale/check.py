"""Everything that can be found wrong with a request before ranks start or anything is written."""

import tempfile
from pathlib import Path

import torch
from transformers import PretrainedConfig

from ptune_scale import checkpoint
from ptune_scale.backbone import find_model, gguf, load_backbone
from ptune_scale.backbone.families import has_plain_head
from ptune_scale.backbone.quantized import check_quantizable
from ptune_scale.backbone.quantized_linear import WeightBits, load_library
from ptune_scale.config import LamaConfig
from ptune_scale.data.embedded import load_embedded
from ptune_scale.data.facts import FactSet
from ptune_scale.data.lama import candidate_words, load_lama, read_vocab
from ptune_scale.errors import UserError
from ptune_scale.methods import METHODS
from ptune_scale.parallel import Degrees, launch, zero3
from ptune_scale.parallel.parallelize import check_backbone
from ptune_scale.template import Template

RUNS = "runs"
"""Where results go that have no --output_dir."""


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
    needs_a_look = config.train.loss_over == "candidates" or config.model.weight_bits != "full"
    if degrees.world_size > 1 or needs_a_look:
        backbone = load_backbone(source, dtype=getattr(torch, config.model.dtype))
        check_backbone(backbone, degrees)
        if config.train.loss_over == "candidates":
            _check_head(backbone.config)
        if config.model.weight_bits != "full":
            check_quantizable(backbone.empty_model())
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
    if not degrees.is_whole:
        raise UserError(
            f"--weight_bits {bits} with layout {degrees.name}: weights are rounded where they are "
            "whole, and this layout gives each rank a part of them. Use --zero_stage 0 without "
            "--tensor_parallel and --pipeline_parallel, under which each rank has all of them, or "
            "--weight_bits full"
        )


def _check_loss(config: LamaConfig, facts: FactSet, degrees: Degrees) -> None:
    if config.train.loss_over == "full_vocab":
        return
    if not degrees.is_whole:
        raise UserError(
            f"--loss_over candidates with layout {degrees.name}: the head is cut down where it is "
            "whole; use --zero_stage 0 without --tensor_parallel and --pipeline_parallel"
        )
    if candidate_words(config.data.candidates, facts)[1] is None:
        raise UserError(
            "--loss_over candidates needs a list of words for all relations: "
            "--candidates common_vocab or a file"
        )


def _check_head(config: PretrainedConfig) -> None:
    if not has_plain_head(config):
        raise UserError(
            f"--loss_over candidates: the head of model type {config.model_type!r} is not known to "
            "be a linear layer whose rows can be picked; use --loss_over full_vocab"
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
