"""Everything that can be found wrong with a run on one's own tasks before ranks meet."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.flags import names_in
from ptune_scale.parallel import Degrees
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.plan.choose import Work, open_in_layout
from ptune_scale.run.check import check_encoder
from ptune_scale.run.config import MethodConfig, SearchingConfig
from ptune_scale.task.answers.text import BoundText
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.chat import chat_pattern
from ptune_scale.task.define import Defined, Definition, define, read_definition, words_of
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Task, Wording, check_names
from ptune_scale.tune.config import OwnConfig, TaskConfig, pairs_in
from ptune_scale.tune.methods import METHODS, manual_wordings
from ptune_scale.tune.trials import PromptTrial, Wordings, read_trials


@dataclass(frozen=True)
class CheckedTasks:
    """What a run needs: nothing is read or opened twice.

    Attributes:
        tasks: with their records.
        backbone: opened; none of its weights is loaded.
        methods: names, controls first.
        trials: settings that are searched for the best, if any are.
    """

    config: OwnConfig
    degrees: Degrees
    backbone: Backbone
    tasks: tuple[Task, ...]
    methods: tuple[str, ...]
    trials: tuple[PromptTrial, ...] = ()


def check(config: OwnConfig) -> CheckedTasks:
    """Read the tasks, open the model, and see whether they go together.

    Raises:
        UserError: the first thing that is wrong.
    """
    methods = check_methods(config.methods, config.ask.method, METHODS)
    defined = [define(each) for each in _definitions(config.data)]
    read = [task for each in defined for task in each.tasks]
    check_names(read)
    degrees, backbone = open_model(
        config, methods, METHODS, config.ask.method, length=long_row(read), tasks=len(read)
    )
    tasks = tuple(task for each in defined for task in fitted(each, backbone, methods))
    if launch.is_first_rank():
        for line in (line for each in defined for line in each.said):
            print(f"inferred: {line}", file=sys.stderr)
    trials = check_trials(config, methods, tasks, backbone)
    return CheckedTasks(config, degrees, backbone, tasks, methods, trials)


def fitted(defined: Defined, backbone: Backbone, methods: Sequence[str]) -> tuple[Task, ...]:
    """The tasks of a definition as a model is asked about them.

    Raises:
        UserError: they do not fit it.
    """
    chats = defined.chat
    tasks = tuple(_in_chat(task, backbone) if chats else task for task in defined.tasks)
    for task in tasks:
        _check_fits(task, backbone, methods)
    return tasks


def check_trials(
    config: SearchingConfig,
    methods: Sequence[str],
    tasks: Sequence[Task],
    backbone: Backbone,
    wordings: Wordings = MappingProxyType({}),
) -> tuple[PromptTrial, ...]:
    """The settings that are to be tried, as typed first; () where nothing is searched for.

    Args:
        wordings: that trials can name.

    Raises:
        UserError: they cannot be read, or do not fit the tasks or the model.
    """
    if "ptuning_search" not in methods:
        return ()
    path = Path(config.search.search)
    trials = read_trials(path, tasks, config.train, config.prompt, wordings)
    for trial in trials:
        try:
            check_encoder(trial.prompt, backbone)
            for task in tasks:
                _check_trial(task, trial.worded(task, wordings), backbone)
        except UserError as error:
            raise UserError(f"trials file {path}, trial {trial.name!r}: {error}") from error
    return trials


def _check_trial(task: Task, wording: Wording, backbone: Backbone) -> None:
    """Make sure that a trial's wording fits the model; all rows are made when they are needed.

    Raises:
        UserError: it has no slot, names a field that is not there, or is too long.
    """
    pattern, records = wording.pattern, (*task.splits.learned, *task.splits.dev, *task.splits.test)
    pattern.check_fields(records[0].fields, f"task {task.name}")
    if not pattern.num_slots:
        raise UserError(f"{pattern.text!r} has no prompt slot [P] to train")
    longest = max(records, key=lambda each: sum(map(len, each.fields.values())))
    asked = AskedTask(
        task, backbone.tokens, 0, wording=wording, context_length=context_length(backbone.config)
    )
    asked.questions([longest], "evaluate")


def _rows_at_once(config: MethodConfig, length: int) -> int:
    """Rows of a forward and backward pass, over all ranks, where rows are so long."""
    train, ranks = config.train, config.parallel.num_gpus or launch.world_size()
    rows = max(1, train.batch_tokens // length) if train.batch_tokens else train.batch_size
    return min(rows, train.rows_per_forward * ranks) if train.rows_per_forward else rows


def long_row(tasks: Sequence[Task]) -> int:
    """Tokens of the longest record, at four letters each: no model has been opened yet."""
    texts = (
        sum(map(len, record.fields.values()))
        for task in tasks
        for record in (*task.splits.learned, *task.splits.dev, *task.splits.test)
    )
    most = max((task.max_length or 0 for task in tasks), default=0)
    longest = max(texts, default=0) // 4 + 16
    return min(longest, most) if most else longest


def check_methods(
    asked: tuple[str, ...],
    typed: str,
    methods: Mapping[str, Any],
    controls: tuple[str, ...] = ("majority",),
) -> tuple[str, ...]:
    """The methods that are asked for, behind the controls that every table has.

    Raises:
        UserError: one is not known, or there is none.
    """
    unknown = [name for name in asked if name not in methods]
    if unknown or not asked:
        raise UserError(f"--method {typed!r}: choose from {', '.join(methods)}")
    return tuple(dict.fromkeys([*controls, *asked]))


def open_model(
    config: MethodConfig,
    names: Sequence[str],
    methods: Mapping[str, Any],
    typed: str,
    *,
    length: int = 32,
    tasks: int = 41,
) -> tuple[Degrees, Backbone]:
    """The layout and the model, opened and fit for it and for what is to be done.

    Args:
        names: of the methods that are asked for, ``typed`` so.
        methods: all that there are, by name.
        length: tokens of a long row, roughly: a layout that is not given is chosen by it.
        tasks: how many there are, roughly.

    Raises:
        UserError: the first thing that does not go together.
    """
    # Its size counts only where there is one.
    trains = any(methods[name].trains_prompts for name in names)
    degrees, backbone = open_in_layout(
        config.model,
        config.parallel,
        config.prompt if trains else replace(config.prompt, encoder="none"),
        Work(
            rows=_rows_at_once(config, length),
            length=length,
            tasks=tasks,
            tunes_backbone=any(methods[name].tunes_backbone for name in names),
        ),
        served=config.served,
        method=typed,
        dropout=config.tune.backbone_dropout == "on",
    )
    if trains:
        check_encoder(config.prompt, backbone)
    return degrees, backbone


def _definitions(data: TaskConfig) -> list[Definition]:
    if data.task:
        return [read_definition(Path(path)) for path in data.task]
    table: dict[str, Any] = {}
    if data.words:
        table = {"words": pairs_in(data.words, "words")}
    elif data.choices:
        table = {"choices": list(names_in(data.choices))}
    elif data.candidates:
        table = {"candidates": words_of(Path(data.candidates))}
    elif data.text_tokens:
        table = {"text": {"max_tokens": data.text_tokens}}
    return [
        Definition(
            base=Path(),
            where="the command line",
            is_typed=True,
            pattern=data.pattern,
            train=data.train,
            dev=_file_or_share(data.dev, "dev"),
            test=_file_or_share(data.test, "test"),
            answer=table,
            answer_column=data.answer,
            columns=pairs_in(data.columns, "columns"),
            metrics=names_in(data.metrics),
            max_length=data.max_length or None,
            chat=data.chat == "on",
            on_bad_record=data.on_bad_record,
        )
    ]


def _file_or_share(text: str, name: str) -> str | float:
    try:
        share = float(text)
    except ValueError:
        return text
    if not 0 <= share < 1:
        raise UserError(f"--{name} {text}: a share is at least 0 and below 1")
    return share


def _in_chat(task: Task, backbone: Backbone) -> Task:
    """The task with its pattern inside a user's message."""
    records = task.splits.learned
    has_system = all(record.fields.get("system") for record in records)

    def wrapped(wording: Wording) -> Wording:
        text = wording.pattern.text
        chat = chat_pattern(backbone.tokens.tokenizer, text, has_system=has_system)
        return Wording(Pattern.chat(chat), wording.answer)

    return replace(
        task,
        wording=wrapped(task.wording),
        manual={w.pattern.text: wrapped(w) for w in manual_wordings(task)},
    )


def _check_fits(task: Task, backbone: Backbone, methods: Sequence[str]) -> None:
    """Make sure that every record can be asked, in each wording that will be.

    Raises:
        UserError: a wording does not fit the model, or a record the length.
    """
    wordings = [("ptuning", task.wording), *(("manual", w) for w in manual_wordings(task))]
    for method, wording in wordings:
        if method not in methods:
            continue
        asked = AskedTask(
            task,
            backbone.tokens,
            0,
            wording=wording,
            context_length=context_length(backbone.config),
        )
        limit = context_length(backbone.config)
        if limit and (task.max_length or 0) > limit:
            raise UserError(
                f"task {task.name}: max_length {task.max_length} is more than the {limit} tokens "
                f"that {backbone.name} takes; give at most that"
            )
        if method == "ptuning" and not asked.num_slots:
            raise UserError(
                f"the pattern {wording.pattern.text!r} of task {task.name} has no prompt slot [P] "
                "to train; write [P]*4, say, where the slots are to stand"
            )
        if isinstance(asked.bound, BoundText):
            asked.bound.check_lengths((*task.splits.learned, *task.splits.dev, *task.splits.test))
        asked.questions(task.splits.learned, "train")
        asked.questions((*task.splits.dev, *task.splits.test), "evaluate")
