"""Saves a training run: regularly, when it is stopped, and when something goes wrong."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptune_scale import checkpoint
from ptune_scale.parallel import World
from ptune_scale.train import Trainer


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

    @property
    def remains(self) -> str:
        """What there is if nothing more is saved."""
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
        checkpoint.save(self.directory, step, parts, self.identity, self.flags, world=world)
        self.saved = step

    def _abandon_later_ones(self) -> None:
        if self.world.is_main and self.saved is None:
            checkpoint.abandon_after(self.directory, self.begun_at)


def load(trainer: Trainer, path: Path) -> None:
    """Take over a checkpoint, in whatever layout it was written.

    Raises:
        UserError: a part of it is missing or damaged.
    """
    read = functools.partial(checkpoint.load_part, path)
    trainer.load_state_dict(read("state"))
    trainer.encoders.load_parts(read)
