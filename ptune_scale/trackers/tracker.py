"""What a tracker is, and the curves of one training in all trackers that were asked for."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ptune_scale.errors import UserError
from ptune_scale.flags import names_in
from ptune_scale.trackers import TRACKERS

NONE = "none"


@dataclass(frozen=True)
class Training:
    """A training, as trackers are told of it.

    Attributes:
        name: of it within its run.
        directory: of its own files.
        run: the output directory of the whole run, in which other trainings may be.
        first_step: steps from here on are to be written, again if they have been.
        settings: what the run was told, by flag.
    """

    name: str
    directory: Path
    run: Path
    first_step: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


class Writer(Protocol):
    """Takes the values of one training's steps; whatever it raises ends its curves alone."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write values of a step, by name; a step may come in several parts."""

    def close(self) -> None:
        """Write what is still in memory."""


@dataclass(frozen=True)
class Tracker:
    """Software that shows curves.

    Attributes:
        name: as ``--report_to`` takes it.
        help: where its curves are, in a few words.
        open: imports the library, and begins or goes on with a training's curves.
        needs: packages, besides our own requirements, by the name that is imported; the project's
            extra that has them is named after the tracker.
    """

    name: str
    help: str
    open: Callable[[Training], Writer]
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What would have to be installed."""
        return [package for package in self.needs if find_spec(package) is None]


def check_trackers(report_to: str) -> tuple[str, ...]:
    """The names of a comma-separated list of trackers; () for "none".

    Raises:
        UserError: one is not known or not installed.
    """
    names = names_in(report_to)
    if names == (NONE,):
        return ()
    if not names or any(name not in TRACKERS for name in names):
        raise UserError(
            f"--report_to {report_to!r}: choose from {', '.join(TRACKERS)}, or {NONE} alone"
        )
    for name in names:
        if missing := TRACKERS[name].missing:
            raise UserError(
                f"--report_to {name} needs {', '.join(missing)}: pip install {' '.join(missing)}"
            )
    return names


class Curves:
    """The values of one training's steps, in all trackers that were asked for.

    A tracker that fails, on a full disk say, ends its own curves with a line, and not the training.

    Args:
        names: of trackers; none on ranks that do not report.
    """

    def __init__(self, names: Sequence[str], training: Training) -> None:
        self._writers: dict[str, Writer] = {}
        for name in names:
            self._try(name, partial(self._open, name, training))

    def _open(self, name: str, training: Training) -> None:
        self._writers[name] = TRACKERS[name].open(training)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write values of a step, by name."""
        for name, writer in list(self._writers.items()):
            self._try(name, partial(writer.add, values, step))

    def close(self) -> None:
        """Write what is still in memory."""
        for name, writer in list(self._writers.items()):
            self._try(name, writer.close)
        self._writers.clear()

    def _try(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._writers.pop(name, None)
            why = getattr(error, "strerror", None) or " ".join(str(error).split())
            what = f"its curves end here: {why or type(error).__name__}"
            print(f"{name} cannot be written to any more, {what}", file=sys.stderr)
