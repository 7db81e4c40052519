"""What can be found wrong with a run on a directory of tasks before ranks meet."""

from dataclasses import dataclass, replace
from pathlib import Path

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees
from ptune_scale.reading import has_directory
from ptune_scale.task.define import define
from ptune_scale.task.task import Task
from ptune_scale.train.schedule import tasks_per_step
from ptune_scale.tune.check import check_methods, fitted, long_row, open_model
from ptune_scale.tune.config import OwnConfig
from ptune_scale.tune.listed import files_of, read_listed
from ptune_scale.tune.methods import METHODS


@dataclass(frozen=True)
class CheckedList:
    """What a run on a directory of tasks needs.

    Attributes:
        backbone: opened; none of its weights is loaded.
        task: the first that can be used, by which a layout and ways to compute are chosen.
        methods: names, controls first.
    """

    config: OwnConfig
    degrees: Degrees
    backbone: Backbone
    task: Task
    methods: tuple[str, ...]


def check_list(config: OwnConfig) -> CheckedList:
    """Find a task in the directory that can be used, and open the model.

    Raises:
        UserError: the first thing that is wrong, or there is no such task.
    """
    methods = check_methods(config.methods, config.ask.method, METHODS)
    directory = Path(config.many.task_list)
    where = f"--task_list {directory}"
    if not has_directory(directory):
        raise UserError(f"{where}: there is no such directory")
    files = files_of(directory)
    if not files:
        raise UserError(
            f"{where}: it holds no task file (.toml) yet; put one there before you start"
        )
    opened: tuple[Degrees, Backbone] | None = None
    first: UserError | None = None
    for file in files:
        try:
            defined = define(read_listed(directory, file))
        except UserError as error:
            first = first or error
            continue
        if opened is None:
            own = replace(config, prompt=replace(config.prompt, encoder_sharing="none"))
            seats, length = tasks_per_step(config.train, len(files)), long_row(defined.tasks)
            opened = open_model(
                own, methods, METHODS, config.ask.method, length=length, tasks=seats
            )
        try:
            task = fitted(defined, opened[1], methods)[0]
        except UserError as error:
            first = first or error
            continue
        return CheckedList(config, *opened, task, methods)
    raise UserError(f"{where}: none of its {len(files)} task files can be used; the first: {first}")
