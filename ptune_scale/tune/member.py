"""One of very many tasks: a job, a trainer and a directory of its own, from its first step on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import quote

from ptune_scale.errors import UserError
from ptune_scale.parallel import EncoderPlacement
from ptune_scale.task.asking import AskedTask
from ptune_scale.train import checkpoint
from ptune_scale.train.session import Keeper, throughput
from ptune_scale.train.trainer import Trainer
from ptune_scale.tune.job import Job
from ptune_scale.tune.listed import ListedTask
from ptune_scale.tune.methods import METHODS, tuned
from ptune_scale.tune.planned import ask
from ptune_scale.tune.pool_report import TASKS, forget, write_ended, write_failed
from ptune_scale.tune.prompts import begin, build_trainer, export_of, found_by
from ptune_scale.tune.run import left_out

NAME = "ptuning"

_LONGEST_NAME = 200
"""Bytes of a directory's name."""


@dataclass(frozen=True)
class Member:
    """A task in training.

    Attributes:
        job: of this task alone; its directory is the task's own.
        asked: the only task of that job.
        seated: the same among all that train, with rows that are asked together with theirs.
    """

    listed: ListedTask
    job: Job
    asked: AskedTask
    seated: AskedTask
    keeper: Keeper

    @classmethod
    def begin(cls, pool: Job, listed: ListedTask, seat: int, placement: EncoderPlacement) -> Self:
        """A task at its first step, or where it was when an earlier run was stopped.

        Args:
            pool: the job of all tasks, with the settings of one.
            seat: its row among all that train.
            placement: of its encoder.

        Raises:
            UserError: it is not what its checkpoint is of, or cannot have a directory.
        """
        task, world = listed.task, pool.world
        directory = pool.output / TASKS / _directory_of(task.name)
        site, notes = replace(pool.site, output=directory), list(listed.notes)
        job = replace(pool, tasks=[task], site=site, notes=notes, training={}, is_shown=False)
        for line in left_out(job):
            job.note(line)
        [asked] = job.asked()
        seated = ask(task, job.backbone, seat, job.config.train.seed)
        problem = job.problem([asked])
        trainer = build_trainer(job, [seated], job.config.train, None, problem, placement)
        # What the main rank finds decides for all.
        chosen = world.together(lambda: _chosen(pool, directory) if world.is_main else None)[0]
        try:
            keeper = begin(
                job, NAME, [seated], directory=directory, resumed_from=chosen, trainer=trainer
            )
        except UserError as error:
            advice = f"; remove {directory} to begin the task again" if chosen else ""
            raise UserError(f"{error}{advice}") from error
        return cls(listed, job, asked, seated, keeper)

    @property
    def trainer(self) -> Trainer:
        return self.keeper.trainer

    @property
    def name(self) -> str:
        return self.listed.task.name

    def end(self, methods: Sequence[str]) -> None:
        """Export the prompt, and write what it and other methods are worth.

        Args:
            methods: names of all that are asked.

        Raises:
            Stopped: the job was told to stop.
            Unanswerable: the model cannot answer.
        """
        job, asked = self.job, [self.asked]
        trained = found_by(self.trainer, job, asked, throughput(self.trainer.spent))
        export = export_of(job, asked, trained.prompts)
        job.world.on_main(lambda: export.save(job.output / "prompt"))
        results = [
            result
            for name in methods
            for result in (tuned(job, asked, trained) if name == NAME else METHODS[name].run(job))
        ]

        def write() -> None:
            write_ended(job, results, self.listed)
            forget(job.output)

        job.world.on_main(write)

    def fail(self, error: UserError) -> None:
        """Write why the task could not be trained."""

        def write() -> None:
            write_failed(self.job.output, self.listed, error)
            forget(self.job.output)

        self.job.world.on_main(write)


def _chosen(pool: Job, directory: Path) -> Path | None:
    """The checkpoint that a task goes on from: the one that was typed, else its newest, if any."""
    found = checkpoint.checkpoints(directory / "checkpoint")
    typed = pool.resume_from.get(NAME)
    is_one = typed is not None and typed.resolve() in [each.resolve() for each in found]
    return typed if is_one else next(reversed(found), None)


def _directory_of(name: str) -> str:
    """What the directory of a task is called.

    Raises:
        UserError: nothing can be called so.
    """
    found = quote(name, safe=" ")
    if found.startswith(".") or len(found) > _LONGEST_NAME:
        raise UserError(f"task name {name!r}: choose one that is shorter, and begins with no dot")
    return found
