"""Everything that can be found wrong with a request before ranks start or anything is written."""

from pathlib import Path

from transformers import PretrainedConfig

from ptune_scale import checkpoint
from ptune_scale.backbone.families import has_plain_head
from ptune_scale.check_model import check_layout, check_model
from ptune_scale.command import check_output
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
from ptune_scale.flag import names_in
from ptune_scale.methods import METHODS, TUNE_BACKBONE
from ptune_scale.parallel import Degrees
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
    ).select(list(names_in(data.relations)))
    if data.candidates not in ("auto", "full_vocab", "common_vocab", "relation"):
        read_vocab(Path(data.candidates))
    if data.candidates == "common_vocab" and facts.common_vocab is None:
        raise UserError(f"--candidates common_vocab: {facts.source} has no such list")
    _check_prompts(config, [relation.id for relation in facts.relations])
    tunes_backbone = not TUNE_BACKBONE.isdisjoint(config.methods)
    degrees = check_layout(
        config.model,
        config.parallel,
        tunes_backbone=tunes_backbone,
        method=config.prompt.method,
    )
    _check_loss(config, facts, degrees, tunes_backbone)
    backbone = check_model(config.model, degrees)
    if config.train.loss_over == "candidates":
        _check_head(backbone.config)
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


def _check_loss(config: LamaConfig, facts: FactSet, degrees: Degrees, tunes_backbone: bool) -> None:
    if config.train.loss_over == "full_vocab":
        return
    if tunes_backbone:
        raise UserError(
            f"--loss_over candidates with --method {config.prompt.method}: it takes weights that "
            "stay as they are, and ft and mp_ft train them; leave it out"
        )
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
