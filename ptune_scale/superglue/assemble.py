"""Puts the job of each task of a SuperGLUE run together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ptune_scale.backbone import load_backbone
from ptune_scale.data.facts import digest
from ptune_scale.errors import UserError
from ptune_scale.parallel import Mesh, StopSignal, parallelize
from ptune_scale.run_file import read_flags
from ptune_scale.superglue.check import UNLABELED, TaskRecords
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.job import TaskJob


def build_jobs(
    config: SuperglueConfig,
    records: list[TaskRecords],
    flags: dict[str, Any],
    mesh: Mesh,
    stop: StopSignal,
    output: Path,
) -> Iterator[TaskJob]:
    """Load the backbone in its layout, and put together one job after another.

    Raises:
        UserError: a layout does not fit the model.
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
    backbone.embeddings.sample  # noqa: B018 (read before a layout takes the weights away)
    stop.check()
    path = config.parallel.deepspeed_config
    function = parallelize(
        backbone,
        mesh,
        deepspeed_config=Path(path) if path else None,
        rows_per_forward=config.train.rows_per_forward or None,
    )
    for one in records:
        stop.check()
        identity = {
            "task": one.task.name,
            "backbone": backbone.fingerprint,
            "dtype": config.model.dtype,
            "weight_bits": config.model.weight_bits,
            "fold_norms": config.shortcut.fold_norms,
            "tokenizer": _tokenizer_digest(backbone.tokens.tokenizer),
            "seed": config.train.seed,
            "max_length": config.max_length(one.task.name),
            "records": digest([repr(part) for part in (one.train, one.dev, one.test)]),
        }
        job = TaskJob(
            config=config,
            task=one.task,
            train=one.train,
            dev=one.dev,
            test=one.test,
            test_split=one.test_split,
            unlabeled=one.unlabeled,
            backbone=backbone,
            function=function,
            stop=stop,
            output_dir=output / one.task.name,
            identity=identity,
            flags={k: v for k, v in flags.items() if k not in ("resume_from", "output_dir")},
        )
        if one.test_split == config.data.dev_split:
            fell_back = config.data.test_split == "auto"
            missing = f"no {config.data.data_dir}/{one.task.name}/val.jsonl: " if fell_back else ""
            job.note(
                f"{missing}what is reported is {one.test_split}, on which the best step was chosen "
                "too"
            )
        if one.unlabeled and one.unlabeled_split != UNLABELED:
            job.note(
                f"ipet: no unlabeled records; the texts of {one.unlabeled_split} stand in, without "
                "their labels, so that it has seen what it is scored on"
            )
        yield job


def read_run(path: Path) -> dict[str, Any]:
    """Flags of the run in an output directory.

    Raises:
        UserError: there is none.
    """
    saved = read_flags(path)
    if saved is None:
        raise UserError(f"--resume_from {path}: no run there to go on with")
    return {**saved, "output_dir": str(path), "resume_from": str(path)}


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Identity of how texts are spelled, which is not in the weights."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    return digest([fast.to_str() if fast is not None else sorted(tokenizer.get_vocab().items())])
