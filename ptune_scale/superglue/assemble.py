"""Reads what a SuperGLUE run needs, and puts the job of each task together."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ptune_scale.backbone import find_model, gguf, load_backbone
from ptune_scale.command import check_output, degrees_of
from ptune_scale.data.facts import digest
from ptune_scale.errors import UserError
from ptune_scale.parallel import Mesh, StopSignal, check_tuned, launch, parallelize
from ptune_scale.parallel.parallelize import check_backbone
from ptune_scale.run_file import read_flags
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS, TUNE_BACKBONE
from ptune_scale.superglue.records import read_split
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.task import Record, Task
from ptune_scale.superglue.tasks import TASKS, find_task
from ptune_scale.tokenization import Tokenization

_UNLABELED = "unlabeled"
_TUNE_PROMPTS = frozenset({"ptuning", "ptuning_joint"})
_READ_MANUAL = frozenset({"manual", "incontext", "pet", "ipet"})


@dataclass(frozen=True)
class TaskRecords:
    """The splits of a task."""

    task: Task
    train: list[Record]
    dev: list[Record]
    test: list[Record]
    test_split: str
    unlabeled: list[Record]
    unlabeled_split: str


def check(config: SuperglueConfig) -> list[TaskRecords]:
    """Everything that can be found wrong before ranks start or anything is written.

    Raises:
        UserError: the first thing that is wrong.
    """
    unknown = [name for name in config.methods if name not in METHODS]
    if unknown or not config.methods:
        raise UserError(f"--method {config.ask.method!r}: choose from {', '.join(METHODS)}")
    records = [_read(config, task) for task in _tasks(config)]
    degrees = degrees_of(config.parallel, config.parallel.num_gpus or launch.world_size())
    if not TUNE_BACKBONE.isdisjoint(config.methods):
        check_tuned(degrees)
        if config.model.weight_bits != "full":
            raise UserError(
                f"--weight_bits {config.model.weight_bits} with --method {config.ask.method}: "
                f"rounded weights cannot train, and {', '.join(sorted(TUNE_BACKBONE))} train them; "
                "leave it out"
            )
    dtype = getattr(torch, config.model.dtype)
    source = find_model(config.model.model)
    if source.is_gguf:
        gguf.converted_directory(source.path, dtype)
    backbone = load_backbone(source, dtype=dtype)
    check_backbone(backbone, degrees)
    # A label's word that the tokenizer does not have is found here.
    for one in records:
        _check_patterns(config, one.task, backbone.tokens)
    resumed = Path(config.run.resume_from).resolve() if config.run.resume_from else None
    if resumed is not None and Path(config.run.output_dir).resolve() != resumed:
        raise UserError(
            f"--output_dir {config.run.output_dir} with --resume_from {config.run.resume_from}: a "
            "run goes on in its own directory; leave --output_dir out"
        )
    check_output(config.run, resumed)
    return records


def _check_patterns(config: SuperglueConfig, task: Task, tokens: Tokenization) -> None:
    """Make sure that the methods find patterns that fit the model.

    Raises:
        UserError: one does not.
    """
    length = config.max_length(task.name)
    if not _TUNE_PROMPTS.isdisjoint(config.methods):
        ask = config.ask
        slots = config.num_slots(task.name)
        RowEncoder(
            task, task.pattern(ask.pattern, layout=ask.layout, num_slots=slots), tokens, length
        )
    if not _READ_MANUAL.isdisjoint(config.methods):
        reasons = []
        for name, pattern in task.patterns.items():
            if name.startswith("manual"):
                try:
                    RowEncoder(task, pattern, tokens, length)
                except UserError as error:
                    reasons.append(str(error))
                else:
                    return
        raise UserError(
            f"{task.name}: no manual pattern fits the model; of the first: {reasons[0]}"
        )


def _tasks(config: SuperglueConfig) -> list[Task]:
    asked = [name.strip() for name in config.data.tasks.split(",") if name.strip()]
    if asked == ["all"]:
        return [task for task in TASKS.values() if task.patterns]
    tasks = [find_task(name) for name in dict.fromkeys(asked)]
    if not tasks:
        raise UserError(f"--tasks {config.data.tasks!r}: choose from {', '.join(TASKS)}")
    for task in tasks:
        task.pattern()  # refuses what is read but not tuned
    return tasks


def _read(config: SuperglueConfig, task: Task) -> TaskRecords:
    data = config.data
    if not data.data_dir:
        raise UserError("--data_dir DIR is needed: FewGLUE or SuperGLUE, one directory a task")
    directory = Path(data.data_dir)

    def split(name: str, most: int) -> list[Record]:
        records = read_split(directory, task.name, name)
        return records[:most] if most else records

    def has(name: str) -> bool:
        return (directory / task.name / f"{name}.jsonl").is_file()

    test_split = data.test_split
    if test_split == "auto":
        test_split = "val" if has("val") else data.dev_split
    unlabeled_split = data.unlabeled_split
    if unlabeled_split == "auto":
        unlabeled_split = _UNLABELED if has(_UNLABELED) else test_split
    dev = split(data.dev_split, data.eval_records)
    test = dev if test_split == data.dev_split else split(test_split, data.eval_records)
    wants_unlabeled = "ipet" in config.methods and task.answer == "words"
    return TaskRecords(
        task,
        split(data.train_split, data.train_records),
        dev,
        test,
        test_split,
        split(unlabeled_split, data.eval_records) if wants_unlabeled else [],
        unlabeled_split,
    )


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
        if one.unlabeled and one.unlabeled_split != _UNLABELED:
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
