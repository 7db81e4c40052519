"""Very many tasks in one run: some train at a time, and each that ends makes room for the next.

Every step serves all that train, each by a trainer, a checkpoint and a directory of its own: what
becomes of a task is what would become of it alone. Whatever waits or is done lies on disk only.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from tqdm import tqdm

from ptune_scale.errors import UserError
from ptune_scale.parallel import EncoderPlacement, NotFinite
from ptune_scale.progress import bar, peak_memory_mb
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.trackers.tracker import Curves
from ptune_scale.train import checkpoint
from ptune_scale.train.session import Keeper, saving, throughput
from ptune_scale.train.together import step_together
from ptune_scale.train.trainer import Diverged, StepResult, Trainer
from ptune_scale.tune.job import Job
from ptune_scale.tune.listed import ListedTask, TaskList
from ptune_scale.tune.methods import METHODS, tuned
from ptune_scale.tune.planned import ask
from ptune_scale.tune.pool_report import TASKS, forget, write_ended, write_failed
from ptune_scale.tune.prompts import begin, build_trainer, export_of, found_by
from ptune_scale.tune.run import left_out

NAME = "ptuning"

_NAP = 1.0
"""Seconds between two looks for new files, where there is nothing else to do."""

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

    @property
    def trainer(self) -> Trainer:
        return self.keeper.trainer

    @property
    def name(self) -> str:
        return self.listed.task.name


class Pool:
    """Trains the tasks of a list, so many at a time.

    Args:
        job: with the settings of a task alone.
        seats: how many train at a time.
        methods: names of what is asked of each task when it has been trained.
        ended: tasks that are done already, and the steps that they took.

    Attributes:
        members: what trains, by its row in batches.
    """

    def __init__(
        self, job: Job, tasks: TaskList, seats: int, methods: Sequence[str], ended: Sequence[int]
    ) -> None:
        self.job = job
        self.tasks = tasks
        self.methods = methods
        self.members: dict[int, Member] = {}
        self._seats = range(seats)
        self._panels = Panels([])
        self._placement = EncoderPlacement.build(
            job.config.parallel.encoder_placement, job.site.mesh, seats
        )
        self._ended = len(ended)
        # Of all tasks together, those of earlier runs too.
        self._steps = sum(ended)

    def train(self, *, follow: bool, when_idle: Callable[[], None]) -> None:
        """Train until nothing waits and nothing trains.

        Args:
            follow: wait for new tasks then, until the job is told to stop.
            when_idle: called each time that nothing is left to do.

        Raises:
            Stopped: the job was told to stop; what was in training is saved.
            UserError: a file cannot be written, or servers refuse what they are asked.
        """
        self._fill()
        curves = self.job.curves("task_list", self.job.output, self._steps + 1)
        progress = bar("tasks", self._known, "tasks", shown=self.job.is_main, initial=self._ended)
        with progress, contextlib.closing(curves), saving(self._keepers):
            is_idle = False
            while True:
                if self.members:
                    is_idle = False
                    if not self._settle(progress):
                        self._step(progress, curves)
                else:
                    if not is_idle:
                        when_idle()
                    if not follow:
                        return
                    is_idle = True
                    time.sleep(_NAP)
                self.job.stop.check()
                self._fill()

    @property
    def _known(self) -> int:
        """Tasks that there are, as far as files are read."""
        return self._ended + len(self.members) + self.tasks.waiting

    def _keepers(self) -> list[Keeper]:
        return [member.keeper for member in self.members.values()]

    def _fill(self) -> None:
        """Let tasks that wait take the rows that are free."""
        before = len(self.members)
        for seat in self._seats:
            while seat not in self.members:
                listed = self.tasks.next(look=not self.members)
                if listed is None:
                    break
                try:
                    self.members[seat] = self._begin(listed, seat)
                except UserError as error:
                    self.tasks.refuse(listed.file, error, listed.task.name)
        if len(self.members) != before:
            self._panels = Panels([member.seated for member in self.members.values()])

    def _begin(self, listed: ListedTask, seat: int) -> Member:
        """A task at its first step, or where it was when an earlier run was stopped.

        Raises:
            UserError: it is not what the checkpoint is of, or cannot have a directory.
        """
        task, world = listed.task, self.job.world
        directory = self.job.output / TASKS / _directory_of(task.name)
        site = replace(self.job.site, output=directory)
        job = replace(
            self.job, tasks=[task], site=site, notes=list(listed.notes), training={}, is_shown=False
        )
        for line in left_out(job):
            job.note(line)
        [asked] = job.asked()
        seated = ask(task, job.backbone, seat, job.config.train.seed)
        # What the main rank finds decides for all.
        found = world.together(
            lambda: checkpoint.checkpoints(directory / "checkpoint") if world.is_main else []
        )[0]
        trainer = build_trainer(
            job,
            [seated],
            job.config.train,
            None,
            job.problem([asked]),
            self._placement.of(seat),
        )
        resumed_from = found[-1] if found else None
        try:
            keeper = begin(
                job,
                NAME,
                [seated],
                directory=directory,
                resumed_from=resumed_from,
                trainer=trainer,
            )
        except UserError as error:
            advice = f"; remove {directory} to begin the task again" if found else ""
            raise UserError(f"{error}{advice}") from error
        self._steps += keeper.begun_at
        return Member(listed, job, asked, seated, keeper)

    def _settle(self, progress: tqdm) -> bool:
        """Score what is due, and end what has come to its end; whether rows are free now."""
        before = len(self.members)
        for seat, member in list(self.members.items()):
            trainer, keeper = member.trainer, member.keeper
            try:
                if trainer.due:
                    started = time.perf_counter()
                    trainer.evaluate()
                    trainer.spent["dev_evaluation_seconds"] += time.perf_counter() - started
                if not trainer.next_tasks():
                    self._end(member)
                    self._leave(seat, progress)
                    continue
            except NotFinite as error:
                self._fail(seat, error, progress)
                continue
            every = self.job.config.run.checkpoint_every
            if every and trainer.step % every == 0 and trainer.step > keeper.begun_at:
                keeper.save()
        return len(self.members) < before

    def _step(self, progress: tqdm, curves: Curves) -> None:
        """Let each task that trains make a step."""
        started, cpu_started = time.perf_counter(), time.process_time()
        trainers = {seat: member.trainer for seat, member in self.members.items()}
        found = step_together(self.job.function, self._panels, trainers)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        made = {seat: each for seat, each in found.items() if isinstance(each, StepResult)}
        for seat, result in made.items():
            spent = trainers[seat].spent
            spent["records"] += result.records
            spent["tokens"] += result.tokens
            # Of a pass that several share, each has a share.
            spent["training_seconds"] += seconds / len(found)
            spent["cpu_seconds_of_this_rank"] += cpu_seconds / len(found)
        for seat, failed in found.items():
            if isinstance(failed, Diverged):
                self._fail(seat, failed, progress)
        if not made:
            return
        self._steps += len(made)
        loss = sum(each.loss for each in made.values()) / len(made)
        records = sum(each.records for each in made.values())
        progress.set_postfix(training=len(self.members), loss=f"{loss:.2f}")
        progress.total = self._known
        curves.add(
            {
                "train/loss": loss,
                "tasks/training": len(made),
                "tasks/ended": self._ended,
                "throughput/records_per_second": records / seconds,
                "memory/peak_mb": peak_memory_mb(),
            },
            self._steps,
        )

    def _end(self, member: Member) -> None:
        """Export a prompt, and write what it and other methods are worth."""
        job, asked, spent = member.job, [member.asked], member.trainer.spent
        trained = found_by(member.trainer, job, asked, throughput(spent))
        export = export_of(job, asked, trained.prompts)
        job.world.on_main(lambda: export.save(job.output / "prompt"))
        results = [
            result
            for name in self.methods
            for result in (tuned(job, asked, trained) if name == NAME else METHODS[name].run(job))
        ]

        def write() -> None:
            write_ended(job, results, member.listed)
            forget(job.output)

        job.world.on_main(write)

    def _fail(self, seat: int, error: UserError, progress: tqdm) -> None:
        """Go on without a task that cannot be trained."""
        member = self.members[seat]

        def write() -> None:
            write_failed(member.job.output, member.listed, error)
            forget(member.job.output)
            tqdm.write(f"failed: {member.name}: {error.line}", file=sys.stderr)

        member.job.world.on_main(write)
        self._leave(seat, progress)

    def _leave(self, seat: int, progress: tqdm) -> None:
        del self.members[seat]
        self._ended += 1
        progress.update(1)


def _directory_of(name: str) -> str:
    """What the directory of a task is called.

    Raises:
        UserError: nothing can be called so.
    """
    found = quote(name, safe=" ")
    if found.startswith(".") or len(found) > _LONGEST_NAME:
        raise UserError(f"task name {name!r}: choose one that is shorter, and begins with no dot")
    return found
