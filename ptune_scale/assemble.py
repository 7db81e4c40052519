"""Puts a LAMA job together: builds what all methods share."""

from pathlib import Path
from typing import Any

import torch

from ptune_scale import checkpoint
from ptune_scale.backbone import load_backbone
from ptune_scale.config import LamaConfig
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.facts import FactSet, digest
from ptune_scale.data.lama import candidate_words
from ptune_scale.data.prepare import PreparedFacts, prepare
from ptune_scale.job import Job
from ptune_scale.methods import SETUPS
from ptune_scale.parallel import Mesh, StopSignal, parallelize
from ptune_scale.train import with_default_steps

# Two runs of these flags train the same prompts; a resumed run must agree on all of them. Not
# among them is what changes rounding alone and may differ from one start to the next: the layout,
# rows_per_forward, attention and other shortcuts. dtype, weight_bits and fold_norms are: they round
# the weights.
_SHAPING = (
    "dtype",
    "weight_bits",
    "fold_norms",
    "backbone_dropout",
    "template",
    "layout",
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
    "selection",
    "seed",
    "dev_facts",
)

# What runs did before these flags were there; their checkpoints do not name them.
_BEFORE = {
    "method": "ptuning",
    "selection": "standard_error",
    "layout": "correct",
    "backbone_dropout": "off",
    "batch_tokens": 0,
    "loss_over": "full_vocab",
    "weight_bits": "full",
    "fold_norms": "off",
}


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
        shortcuts=config.shortcut,
        weight_bits=config.model.weight_bits,
        dropout=config.tune.backbone_dropout == "on",
    )
    tokens = backbone.tokens
    name, words = candidate_words(config.data.candidates, facts)
    answers = None if words is None else tokens.word_tokens(words)
    prepared = prepare(
        facts,
        tokens,
        answers=answers,
        dev_facts=config.data.dev_facts,
        test_facts=config.data.test_facts,
    )
    setups = {
        name: SETUPS[name](config.prompt, prepared, backbone)
        for name in config.methods
        if name in SETUPS
    }
    candidates = Candidates(
        backbone.vocab_size,
        {name: answers, "full_vocab": None},
        {"relation": [relation.train_objects for relation in prepared.relations]},
        first=name,
    )
    train = with_default_steps(config.train, len(prepared.relations))
    flags = {**flags, "max_steps": train.max_steps}
    config = LamaConfig.from_flags(flags)
    values = config.as_flags()
    identity = {key: values[key] for key in _SHAPING} | {
        "relations": [relation.id for relation in prepared.relations],
        "facts": facts.fingerprint(),
        # Files keep their names when their words change, and tokenizers are not in the weights.
        "candidates": name if answers is None else f"{len(answers)} tokens {digest(answers)[:32]}",
        "backbone": backbone.fingerprint,
    }
    resume_from = {}
    if config.run.resume_from:
        resume_from = checkpoint.find_all(Path(config.run.resume_from))
        for method in resume_from.keys() & setups.keys():
            saved = _BEFORE | checkpoint.read_meta(resume_from[method])["identity"]
            now = identity | setups[method].identity
            checkpoint.check_identity(saved, now, resume_from[method])
    stop.check()
    deepspeed_config = config.parallel.deepspeed_config
    function = parallelize(
        backbone,
        mesh,
        deepspeed_config=Path(deepspeed_config) if deepspeed_config else None,
        rows_per_forward=config.train.rows_per_forward or None,
        answers=_loss_words(config, answers, prepared),
    )
    stop.check()
    return Job(
        config=config,
        facts=prepared,
        backbone=backbone,
        setups=setups,
        candidates=candidates,
        tokens=tokens,
        function=function,
        stop=stop,
        output_dir=output,
        identity=identity,
        flags={k: v for k, v in flags.items() if k not in ("resume_from", "output_dir")},
        resume_from=resume_from,
    )


def _loss_words(
    config: LamaConfig, answers: list[int] | None, facts: PreparedFacts
) -> list[int] | None:
    if config.train.loss_over == "full_vocab":
        return None
    labels = {fact.label for relation in facts.relations for fact in relation.train}
    return sorted({*answers, *labels})
