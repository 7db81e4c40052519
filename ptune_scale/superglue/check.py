"""Reads the records of a SuperGLUE run, and finds what is wrong before ranks meet."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.flags import names_in
from ptune_scale.parallel import Degrees
from ptune_scale.reading import has_file
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.reading import read_split
from ptune_scale.superglue.task import SuperglueTask
from ptune_scale.superglue.tasks import TASKS, find_task
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.tune.check import check_methods, open_model

UNLABELED = "unlabeled"
"""The split that ipet labels, where the data has it."""


@dataclass(frozen=True)
class ReadTask:
    """A task with its records.

    Attributes:
        task: ready to be asked; its manual wordings are those that the model can use.
        own: what it states about itself.
        test_split: the file that the test records were read from.
    """

    task: Task
    own: SuperglueTask
    test_split: str


@dataclass(frozen=True)
class CheckedSplits:
    """What a run needs: nothing is read or opened twice.

    Attributes:
        backbone: opened; none of its weights is loaded.
        methods: names, controls first.
    """

    config: SuperglueConfig
    degrees: Degrees
    backbone: Backbone
    tasks: tuple[ReadTask, ...]
    methods: tuple[str, ...]


def check(config: SuperglueConfig) -> CheckedSplits:
    """Everything that can be found wrong before ranks meet or anything is written.

    Raises:
        UserError: the first thing that is wrong.
    """
    methods = check_methods(config.methods, config.ask.method, METHODS)
    found = read_tasks(config, methods)
    degrees, backbone = open_model(
        config,
        methods,
        METHODS,
        config.ask.method,
        length=max(each.task.max_length or 0 for each in found),
        tasks=len(found),
    )
    tasks = tuple(replace(each, task=_fitted(each.task, backbone, methods)) for each in found)
    return CheckedSplits(config, degrees, backbone, tasks, methods)


def read_tasks(config: SuperglueConfig, methods: Collection[str] = ()) -> list[ReadTask]:
    """The tasks that were asked for, with all their manual wordings.

    Args:
        methods: what the records are for.

    Raises:
        UserError: a file is missing, or a record cannot be used.
    """
    return [_read(config, own, methods) for own in _tasks(config)]


def _tasks(config: SuperglueConfig) -> list[SuperglueTask]:
    asked = names_in(config.data.tasks)
    if asked == ("all",):
        return list(TASKS.values())
    if not asked:
        raise UserError(f"--tasks {config.data.tasks!r}: choose from {', '.join(TASKS)}")
    return list({task.name: task for task in map(find_task, asked)}.values())


def _read(config: SuperglueConfig, own: SuperglueTask, methods: Collection[str]) -> ReadTask:
    data, ask = config.data, config.ask
    if not data.data_dir:
        raise UserError("--data_dir DIR is needed: FewGLUE or SuperGLUE, one directory a task")
    directory, dropped = Path(data.data_dir), Counter[str]()

    def split(name: str, most: int) -> tuple[Record, ...]:
        records = read_split(directory, own, name, data.on_bad_record, dropped)
        return tuple(records[: most or None])

    def has(name: str) -> bool:
        return has_file(directory / own.name / f"{name}.jsonl")

    train = split(data.train_split, data.train_records)
    dev = split(data.dev_split, data.eval_records)
    test_split, notes = data.test_split, []
    if test_split == "auto":
        test_split = "val" if has("val") else data.dev_split
    test = dev if test_split == data.dev_split else split(test_split, data.eval_records)
    for name, records in ((data.dev_split, dev), (test_split, test)):
        if any(record.answer is None for record in records):
            raise UserError(
                f"{directory / own.name}/{name}.jsonl has records without labels, so nothing can "
                "be scored on it; give another file by --dev_split or --test_split"
            )
    if test_split == data.dev_split:
        missing = f"no {directory / own.name}/val.jsonl: " if data.test_split == "auto" else ""
        notes.append(
            f"{missing}what is reported is {test_split}, on which the best step was chosen too"
        )
    unlabeled: tuple[Record, ...] = ()
    if "ipet" in methods and isinstance(own.answer, Words):
        name = data.unlabeled_split
        if name == "auto":
            name = UNLABELED if has(UNLABELED) else test_split
        # Whatever a file says of them is not known to anybody.
        unlabeled = tuple(replace(r, answer=None) for r in split(name, data.eval_records))
        if name != UNLABELED:
            notes.append(
                f"ipet: no unlabeled records; the texts of {name} stand in, without their labels, "
                "so that it has seen what it is scored on"
            )
    notes += [f"dropped {count} x {why}" for why, count in dropped.items()]
    wordings = own.wordings()
    task = Task(
        own.name,
        own.wording(ask.pattern, ask.spelling, ask.num_slots),
        Splits(train, dev, test, unlabeled, tuple(own.learn(train)), dropped, tuple(notes)),
        own.metrics,
        own.select_on,
        {name: wordings[name] for name in wordings if name.startswith("manual")},
        data.max_length or own.few_shot.max_length,
    )
    return ReadTask(task, own, test_split)


def _fitted(task: Task, backbone: Backbone, methods: Collection[str]) -> Task:
    """The task with those of its manual wordings that the model can use.

    Raises:
        UserError: methods find no wording that fits the model, or nothing to learn from.
    """
    asks = {METHODS[name].asks for name in methods}

    def asked(wording: Wording) -> AskedTask:
        limit = context_length(backbone.config)
        return AskedTask(task, backbone.tokens, 0, wording=wording, context_length=limit)

    if "tuned" in asks and not asked(task.wording).num_slots:
        raise UserError(
            f"the pattern {task.wording.pattern.text!r} of {task.name} has no prompt slot to train"
        )
    if not task.splits.learned and any(METHODS[name].learns for name in methods):
        raise UserError(
            f"{task.name}: no training record has an answer to learn; give another file by "
            "--train_split, or more records by --train_records"
        )
    if "manual" not in asks:
        return task
    reasons: dict[str, str] = {}
    for name, wording in task.manual.items():
        try:
            asked(wording)
        except UserError as error:
            reasons[name] = str(error)
    first = next(iter(reasons.values()), "")
    if len(reasons) == len(task.manual):
        raise UserError(f"{task.name}: no manual pattern fits the model; of the first: {first}")
    notes = [f"left out: {', '.join(reasons)}; of the first: {first}"] if reasons else []
    return replace(
        task,
        manual={name: task.manual[name] for name in task.manual if name not in reasons},
        splits=replace(task.splits, notes=(*task.splits.notes, *notes)),
    )
