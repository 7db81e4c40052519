"""Runs a trainer to its end: progress, curves, checkpoints, and a way to be stopped."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ptune_scale.board import Board, TaskState, board_console
from ptune_scale.errors import UserError
from ptune_scale.files import NotWritten
from ptune_scale.parallel import Stopped, StopSignal, World
from ptune_scale.parallel.launch import contact
from ptune_scale.progress import bar, peak_memory_mb
from ptune_scale.trackers.tracker import Curves
from ptune_scale.train import checkpoint
from ptune_scale.train.saved_state import check_like
from ptune_scale.train.trainer import SPENT, Diverged, StepResult, Trainer

# Ends of a run that say nothing against what it has learned.
_ACCIDENTS = (OSError, MemoryError, torch.OutOfMemoryError, KeyboardInterrupt)


@dataclass
class Keeper:
    """Saves a trainer's checkpoints, each step's once.

    Args:
        directory: where they go.
        identity, flags: what they record of the run, see ``checkpoint.save``.
        resumed_from: the checkpoint that the trainer went on from.
    """

    trainer: Trainer
    world: World
    directory: Path
    identity: dict[str, Any]
    flags: dict[str, Any]
    resumed_from: Path | None = None

    def __post_init__(self) -> None:
        self.begun_at = self.trainer.step
        self.saved: int | None = None
        self.newest: Path | None = None

    @property
    def remains(self) -> str:
        """What there is if nothing more is saved."""
        if self.newest is not None and not self.newest.is_dir():
            return "the checkpoints that there were have been removed"
        if self.saved is not None:
            return f"the last checkpoint is that of step {self.saved}"
        if self.resumed_from is not None:
            return f"the last checkpoint is {self.resumed_from}, of step {self.begun_at}"
        return "there is no checkpoint yet"

    def save(self) -> None:
        """Write a checkpoint; all ranks call this together.

        Raises:
            RuntimeError: the ranks' encoders differ.
        """
        if self.saved != self.trainer.step:
            self.trainer.encoders.check_replicas(range(len(self.trainer.orders)))
            self._write(self.world)

    def save_alone(self) -> None:
        """Write what can be written without the other ranks, which may be dead.

        That is everything if the main rank has all encoders. If it does not, the last checkpoint
        that all ranks made is what remains.
        """
        main_has_all = self.world.is_main and self.trainer.encoders.placement.main_speaks_for_all
        if main_has_all and self.trainer.is_whole and self.saved != self.trainer.step:
            self._write(World())

    def _write(self, world: World) -> None:
        parts = self.trainer.encoders.parts()
        if self.world.is_main:
            parts["state"] = self.trainer.state_dict()
        world.together(self._abandon_later_ones)
        step = self.trainer.step
        self.newest = checkpoint.save(
            self.directory, step, parts, self.identity, self.flags, world=world
        )
        self.saved = step

    def _abandon_later_ones(self) -> None:
        if self.world.is_main and self.saved is None:
            checkpoint.abandon_after(self.directory, self.begun_at)


def load(trainer: Trainer, path: Path) -> None:
    """Take over a checkpoint, in whatever layout it was written.

    Raises:
        UserError: a part of it is missing, damaged or of another kind of run.
    """
    state = checkpoint.load_part(path, "state")
    check_like(state, trainer.state_dict(), f"checkpoint {path}: state")
    trainer.load_state_dict(state)
    trainer.encoders.load_parts(functools.partial(checkpoint.load_part, path))


@contextlib.contextmanager
def saving(keepers: Callable[[], Sequence[Keeper]]) -> Iterator[None]:
    """Train; whatever ends it with an error, what may be saved is saved.

    Args:
        keepers: of all that trains then.

    Raises:
        Stopped: after checkpoints were saved.
        UserError: training has diverged, or a file cannot be written; the message names the last
            checkpoint.
        RuntimeError: the ranks' encoders differ; nothing is saved.
    """
    try:
        yield
    except Stopped:
        # All ranks agreed to stop at this point, so they can save together.
        for keeper in keepers():
            keeper.save()
        raise
    except NotWritten as error:
        raise NotWritten(f"{error}; {_remains(keepers())}") from error
    except Diverged as error:
        raise UserError(f"{error}; {_remains(keepers())}") from error
    except BaseException as error:
        # Any other error may come of a state that is wrong. Saved, it would be the newest
        # checkpoint, and one that is right would be removed for it.
        if contact.loss_of_contact(error) is None and not isinstance(error, _ACCIDENTS):
            error.add_note(f"Nothing was saved: {_remains(keepers())}.")
        else:
            for keeper in keepers():
                keeper.save_alone()
        raise


def _remains(keepers: Sequence[Keeper]) -> str:
    """What there is if nothing more is saved."""
    if len(keepers) == 1:
        return keepers[0].remains
    return "each task goes on from its own last checkpoint"


def _progress(
    title: str, planned: int, done: int, states: Callable[[], list[TaskState]], *, shown: bool
) -> tqdm:
    """A bar, or on a terminal a table where there are several tasks."""
    if shown and len(states()) > 1 and (console := board_console()):
        return Board(
            desc=title, total=planned, initial=done, unit=" records", console=console, tasks=states
        )
    return bar(title, planned, "records", shown=shown, initial=done)


def state_of(trainer: Trainer, task: int, name: str, loss: float | None) -> TaskState:
    """How far a task is.

    Args:
        loss: of its last step.
    """
    visits, planned = trainer.visits[task], trainer.budgets[task]
    selection = trainer.selection
    state = "waits" if not visits else "trains"
    if trainer.halving and trainer.halving.dropped[task]:
        state = "dropped"
    elif selection.stopped[task]:
        state = f"stopped early, best at {selection.best_visit[task]}"
    elif visits >= planned:
        state = "done"
    best = selection.best[task] if selection.best_values[task] else None
    return TaskState(name, visits, planned, loss, best, state)


def run_training(
    keeper: Keeper,
    stop: StopSignal,
    *,
    title: str,
    names: Sequence[str],
    checkpoint_every: int,
    curves: Curves,
) -> dict[str, float]:
    """Train from wherever the keeper's trainer is, showing and saving.

    Args:
        title: of the progress bar.
        names: of the tasks.
        checkpoint_every: steps between checkpoints; 0 for none but at the end or on a signal.
        curves: where those of the steps go; they are closed.

    Returns:
        throughput of training alone, of the runs before this one that it goes on from too; {} if
        there was nothing to train.

    Raises:
        Stopped: after a checkpoint was saved.
        UserError: training has diverged, or a checkpoint cannot be written; the message names the
            last one.
        RuntimeError: the ranks' encoders differ; nothing is saved.
    """
    trainer, is_main = keeper.trainer, keeper.world.is_main
    spent = trainer.spent
    planned, done = trainer.records_in(trainer.planned_visits), trainer.records_in(trainer.visits)
    shown = {"step": f"{trainer.step}/{trainer.planned_steps}"}
    started = time.perf_counter()
    cpu_started = time.process_time() - spent["cpu_seconds_of_this_rank"]
    losses: dict[int, float] = {}

    def states() -> list[TaskState]:
        found = [state_of(trainer, r, name, losses.get(r)) for r, name in enumerate(names)]
        return sorted(found, key=lambda each: each.state == "dropped")

    bar_or_board = _progress(title, planned, done, states, shown=is_main)
    with bar_or_board as progress, contextlib.closing(curves), saving(lambda: [keeper]):
        for event in trainer.train():
            now = time.perf_counter()
            if isinstance(event, StepResult):
                spent["training_seconds"] += now - started
                spent["records"] += event.records
                spent["tokens"] += event.tokens
                shown["step"] = f"{event.step}/{trainer.planned_steps}"
                shown["loss"] = f"{event.loss:.2f}"
                losses.update(event.task_losses)
                progress.set_postfix({**shown, **({"now": "dev"} if trainer.due else {})})
                progress.update(min(event.records, planned - progress.n))
                curves.add(
                    {
                        "train/loss": event.loss,
                        "train/lr": event.lr,
                        "throughput/records_per_second": event.records / (now - started),
                        "memory/peak_mb": peak_memory_mb(),
                    },
                    event.step,
                )
            else:
                spent["dev_evaluation_seconds"] += now - started
                best = trainer.selection.best
                mean = sum(best) / len(best)
                shown["dev"] = f"{mean:.3f}"
                progress.set_postfix(shown)
                scores = {names[r]: each.main for r, each in event.scores.items() if each.count}
                curves.add({f"dev/{n}": score for n, score in scores.items()}, event.step)
            spent["cpu_seconds_of_this_rank"] = time.process_time() - cpu_started
            is_due = checkpoint_every and event.step % checkpoint_every == 0
            # Behind the step's scores, so that they are not made and written again.
            if is_due and not trainer.due:
                keeper.save()
            stop.check()
            started = time.perf_counter()
    keeper.save()
    if trainer.step == keeper.begun_at and is_main:
        print(f"{title}: nothing is left to train after step {trainer.step}")
    return throughput(spent)


def throughput(spent: Mapping[str, float]) -> dict[str, float]:
    """Of what was counted of a training, records and tokens a second; {} if none was trained."""
    seconds = spent["training_seconds"]
    if not seconds:
        return {}
    return {
        "records_per_second": spent["records"] / seconds,
        "tokens_per_second": spent["tokens"] / seconds,
        **{name: spent[name] for name in SPENT[2:]},
    }
