"""Reads the records of a SuperGLUE run, and finds what is wrong before ranks start."""

from dataclasses import dataclass
from pathlib import Path

from ptune_scale.check_model import check_layout, check_model
from ptune_scale.command import check_output
from ptune_scale.errors import UserError
from ptune_scale.flag import names_in
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.methods import METHODS, TUNE_BACKBONE
from ptune_scale.superglue.records import read_split
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.task import Record, Task
from ptune_scale.superglue.tasks import TASKS, find_task
from ptune_scale.tokenization import Tokenization

UNLABELED = "unlabeled"
"""The split that ipet labels, where the data has it."""

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
    degrees = check_layout(
        config.model,
        config.parallel,
        tunes_backbone=not TUNE_BACKBONE.isdisjoint(config.methods),
        method=config.ask.method,
    )
    backbone = check_model(config.model, degrees)
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
    asked = list(names_in(config.data.tasks))
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
        unlabeled_split = UNLABELED if has(UNLABELED) else test_split
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
