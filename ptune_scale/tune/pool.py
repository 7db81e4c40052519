"""Very many tasks in one run: some train at a time, and each that ends makes room for the next.

Every step serves all that train, each by a trainer, a checkpoint and a directory of its own: what
becomes of a task is what would become of it alone. Whatever waits or is done lies on disk only.
"""

import contextlib
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from ptune_scale.errors import UserError
from ptune_scale.parallel import EncoderPlacement, Unanswerable
from ptune_scale.progress import bar, peak_memory_mb, tell
from ptune_scale.task.asking import Panels
from ptune_scale.trackers.tracker import Curves
from ptune_scale.train.session import Keeper, saving
from ptune_scale.train.together import step_together
from ptune_scale.train.trainer import StepResult
from ptune_scale.tune.job import Job
from ptune_scale.tune.listed import TaskList
from ptune_scale.tune.member import Member

_NAP = 1.0
"""Seconds between two looks for new files, where there is nothing else to do."""


class Pool:
    """Trains the tasks of a list, so many at a time.

    Args:
        job: with the settings of a task alone.
        seats: how many train at a time.
        methods: names of what is asked of each task when it has been trained.
        ended: of each task that is done already, the steps that it took.

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
            when_idle: called each time that it begins to wait.

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
                    if not follow:
                        return
                    if not is_idle:
                        when_idle()
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
        free = [seat for seat in self._seats if seat not in self.members]
        joined = False
        while free and (listed := self.tasks.next(look=not self.members)) is not None:
            seat = free[0]
            try:
                member = Member.begin(self.job, listed, seat, self._placement.of(seat))
            except UserError as error:
                self.tasks.refuse(listed.file, error, listed.task.name)
                continue
            self.members[free.pop(0)] = member
            self._steps += member.keeper.begun_at
            joined = True
        if joined:
            self._panels = Panels([member.seated for member in self.members.values()])

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
                    member.end(self.methods)
                    self._leave(seat, progress)
                    continue
            except Unanswerable as error:
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
            if isinstance(failed, UserError):
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

    def _fail(self, seat: int, error: UserError, progress: tqdm) -> None:
        """Go on without a task that cannot be trained."""
        member = self.members[seat]
        member.fail(error)
        if self.job.is_main:
            tell(f"failed: {member.name}: {error.line}")
        self._leave(seat, progress)

    def _leave(self, seat: int, progress: tqdm) -> None:
        del self.members[seat]
        self._ended += 1
        progress.update(1)
