"""Curves for Weights & Biases, offline: ``wandb sync`` uploads them whenever one likes.

Its files cannot be written again. So a training that goes on leaves out the steps that were written
before it was ended; how far each curve has come is kept in a file beside them.
"""

import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

from ptune_scale.files import write_text
from ptune_scale.reading import read_object
from ptune_scale.trackers.tracker import Tracker, Training

_NEWEST = "newest_steps.json"


class _Run:
    def __init__(self, training: Training) -> None:
        # Offline it has nothing to send, so nothing about its own errors either.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        place = training.directory / "wandb"
        place.mkdir(parents=True, exist_ok=True)
        self._path = place / _NEWEST
        if self._path.exists():
            found = read_object(self._path, "wandb")
        else:
            found = {"id": secrets.token_hex(4), "steps": {}}
        self._id: str = found["id"]
        self._steps: dict[str, int] = found["steps"]
        self._run: Any = wandb.init(
            project="ptune_scale",
            name=f"{training.run.name}, {training.name}",
            id=self._id,
            dir=str(training.directory),
            config=dict(training.settings),
            mode="offline",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
            ),
        )
        self._keep()

    def add(self, values: Mapping[str, float], step: int) -> None:
        new = {name: value for name, value in values.items() if step > self._steps.get(name, 0)}
        if new:
            self._run.log(new, step=step)
            self._steps |= dict.fromkeys(new, step)
            self._keep()

    def close(self) -> None:
        import wandb

        self._run.finish()
        wandb.teardown()  # its service, which writes the file, may still be at it

    def _keep(self) -> None:
        write_text(self._path, json.dumps({"id": self._id, "steps": self._steps}))


WANDB = Tracker("wandb", "wandb/, for wandb sync", _Run, needs=("wandb",))
