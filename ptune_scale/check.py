"""Everything that can be found wrong with a request before ranks start or anything is written."""

from pathlib import Path

import torch
from transformers import PretrainedConfig

from ptune_scale import checkpoint
from ptune_scale.backbone import find_model, gguf, load_backbone
from ptune_scale.backbone.families import has_plain_head
from ptune_scale.backbone.quantized import check_quantizable
from ptune_scale.backbone.quantized_linear import WeightBits, load_library
from ptune_scale.command import check_output, degrees_of
from ptune_scale.config import LamaConfig
from ptune_scale.data.embedded import load_embedded
from ptune_scale.data.facts import FactSet
from ptune_scale.data.lama import candidate_words, load_lama, read_vocab
from ptune_scale.data.prompts import (
    AUTOPROMPT_MODELS,
    LPAQA_KINDS,
    prompts_directory,
    read_autoprompt,
    read_lpaqa,
)
from ptune_scale.errors import UserError
from ptune_scale.methods import METHODS, TUNE_BACKBONE
from ptune_scale.parallel import Degrees, check_tuned, launch, zero3
from ptune_scale.parallel.parallelize import check_backbone
from ptune_scale.reference_layout import reference_counts
from ptune_scale.template import Template


def check(config: LamaConfig) -> FactSet:
    """Everything that can be found wrong before ranks start or anything is written.

    Raises:
        UserError: the first thing that is wrong.
    """
    unknown = [name for name in config.methods if name not in METHODS]
    if unknown or not config.methods:
        raise UserError(f"--method {config.prompt.method!r}: choose from {', '.join(METHODS)}")
    if config.prompt.layout == "reference":
        num_slots = sum(reference_counts(config.prompt.template))
    else:
        num_slots = Template.parse(config.prompt.template).num_slots
    if not num_slots:
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
    _check_prompts(config, [relation.id for relation in facts.relations])
    if config.parallel.deepspeed_config:
        dtype = getattr(torch, config.model.dtype)
        zero3.read_config(Path(config.parallel.deepspeed_config), dtype)
    degrees = degrees_of(config.parallel, config.parallel.num_gpus or launch.world_size())
    # One process has nothing to shard: a run of several can go on in it with the same flags.
    if config.parallel.deepspeed_config and degrees.zero_stage != 3 and degrees.world_size > 1:
        raise UserError(
            f"--deepspeed_config {config.parallel.deepspeed_config} with layout {degrees.name}: "
            "only ZeRO-3 (--zero_stage 3) reads it; leave it out (--deepspeed_config '' where the "
            "run resumed had it)"
        )
    if not TUNE_BACKBONE.isdisjoint(config.methods):
        _check_tuning(config, degrees)
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
    resumed = config.run.resume_from
    check_output(config.run, checkpoint.run_directory(Path(resumed)) if resumed else None)
    return facts


def _check_prompts(config: LamaConfig, relations: list[str]) -> None:
    """Read the published prompts of the methods that need them."""
    published = [model for model in AUTOPROMPT_MODELS if f"autoprompt_{model}" in config.methods]
    kinds = LPAQA_KINDS if "lpaqa" in config.methods else ()
    if not published and not kinds:
        return
    data = config.data
    directory = prompts_directory(data.data_dir, config.discrete.prompts_dir)
    for kind in kinds:
        read_lpaqa(directory, kind, relations, data.on_bad_record)
    for model in published:
        read_autoprompt(directory, model, relations, data.on_bad_record)


def _check_tuning(config: LamaConfig, degrees: Degrees) -> None:
    check_tuned(degrees)
    for name, value in (
        ("weight_bits", config.model.weight_bits),
        ("loss_over", config.train.loss_over),
    ):
        if value not in ("full", "full_vocab"):
            raise UserError(
                f"--{name} {value} with --method {config.prompt.method}: it takes weights that "
                "stay as they are, and ft and mp_ft train them; leave it out"
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
