"""A table of the tasks of a training that is redrawn on a terminal, below its progress."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ptune_scale.progress import Quiet

_REDRAWN_PER_SECOND = 2


@dataclass(frozen=True)
class TaskState:
    """How far a task is.

    Attributes:
        step: visits to it so far, of ``steps`` that are planned.
        loss: of the last one; None before.
        best: on dev, so far; None where nothing was scored.
        state: what becomes of it, in a word or two.
    """

    name: str
    step: int
    steps: int
    loss: float | None
    best: float | None
    state: str


class Board(Quiet):
    """A bar that is one line of text above the table of tasks.

    Args:
        tasks: tells how far they are; asked from another thread.
    """

    def __init__(
        self, *args: Any, console: Console, tasks: Callable[[], Sequence[TaskState]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._tasks = tasks
        # A table longer than the terminal is cut at its end.
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=_REDRAWN_PER_SECOND,
            redirect_stdout=sys.stdout.isatty(),  # else results would leave their pipe
            transient=True,
        )
        self._live.start()

    def close(self) -> None:
        """Take the table away, and leave the line."""
        if not self.disable:
            self._live.stop()
            self._live.console.print(self.line(), markup=False, highlight=False)
        super().close()

    def _render(self) -> Group:
        table = Table("task", "step", "loss", "best on dev", "state", box=None, pad_edge=False)
        for task in self._tasks():
            table.add_row(
                Text(task.name),
                f"{task.step}/{task.steps}",
                "" if task.loss is None else f"{task.loss:.2f}",
                "" if task.best is None else f"{task.best:.3f}",
                task.state,
            )
        return Group(Text(self.line()), table)


def board_console() -> Console | None:
    """The terminal that a table can be redrawn on; None where there is none."""
    console = Console(stderr=True)
    return console if console.is_interactive else None
