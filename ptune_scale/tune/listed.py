"""A directory of task files, each in its turn; files may come while others are worked on."""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import World
from ptune_scale.progress import tell
from ptune_scale.reading import NOT_TEXT
from ptune_scale.task.define import define, read_definition
from ptune_scale.task.task import Task, check_names
from ptune_scale.tune.check import fitted
from ptune_scale.tune.job import digest

_SECONDS_BETWEEN_LOOKS = 2.0


def files_of(directory: Path) -> list[str]:
    """Task files in a directory and below it, as they are called from there."""
    found = (path.relative_to(directory) for path in directory.rglob("*.toml") if path.is_file())
    return sorted(p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts))


@dataclass(frozen=True)
class ListedTask:
    """A task of a list.

    Attributes:
        file: that it is read from, as it is called from the list's directory.
        beside: names of all tasks of that file.
        notes: what was inferred.
    """

    task: Task
    file: str
    beside: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EndedTask:
    """A task that is done.

    Attributes:
        beside: names of all tasks of its file.
        steps: that it was trained.
    """

    name: str
    file: str
    beside: tuple[str, ...]
    steps: int


class TaskList:
    """The tasks of a directory, in the order of their files' names, those of new files last.

    Files are read when their turn comes. One that cannot be used is told of in a line, and looked
    at again when it has changed. ``next`` is called on all ranks together: what the first one sees
    in the directory counts for all.

    Args:
        backbone, methods: that tasks have to fit.
        ended: tasks that are done already.

    Attributes:
        refused: by file, why it cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        world: World,
        backbone: Backbone,
        methods: Sequence[str],
        ended: Sequence[EndedTask] = (),
    ) -> None:
        self.directory = directory
        self.world = world
        self.backbone = backbone
        self.methods = methods
        self.refused: dict[str, str] = {}
        self._ready: deque[ListedTask] = deque()
        self._files: deque[str] = deque()
        self._seen: dict[str, tuple[int, int]] = {}
        self._looked = float("-inf")
        # Names of tasks that are done, or that somebody works on.
        self._taken = {each.name for each in ended}
        self._file_of = {each.name.lower(): each.file for each in ended}
        self._done = {each.file for each in ended if self._taken.issuperset(each.beside)}

    @property
    def waiting(self) -> int:
        """Tasks that are read, and files that are not."""
        return len(self._ready) + len(self._files)

    def next(self, *, look: bool) -> ListedTask | None:
        """The task whose turn it is; None where there is none for now.

        Args:
            look: for new files now, however short ago that was done.
        """
        while not self._ready:
            if not self._files:
                self._look(look)
                look = False
            if not self._files:
                return None
            file = self._files.popleft()
            try:
                self._ready.extend(self._read(file))
            except UserError as error:
                self.refuse(file, error)
        listed = self._ready.popleft()
        self._taken.add(listed.task.name)
        return listed

    def refuse(self, file: str, error: UserError, name: str = "") -> None:
        """Go on without a file, or without a task of it."""
        self._taken.discard(name)
        path = str(self.directory / file)
        line = error.line if path in error.line else f"{path}: {error.line}"
        self.refused[file] = line
        if self.world.is_main:
            tell(f"skipped: {line}")

    def _look(self, now: bool) -> None:
        for file, stamp, error in self.world.together(lambda: self._new_files(now))[0]:
            self._seen[file] = stamp
            self.refused.pop(file, None)
            if error:
                self.refuse(file, UserError(error))
            else:
                self._files.append(file)

    def _new_files(self, now: bool) -> list[tuple[str, tuple[int, int], str]]:
        """New files, when and how large they were written, and what is wrong with their TOML."""
        is_early = time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS
        if not self.world.is_main or (is_early and not now):
            return []
        self._looked = time.monotonic()
        found: list[tuple[str, tuple[int, int], str]] = []
        try:
            files = files_of(self.directory)
        except FileNotFoundError:  # a directory went while it was looked through
            return found
        for file in files:
            if file in self._done or (file in self._seen and file not in self.refused):
                continue
            error = ""
            with suppress(FileNotFoundError):
                about = (self.directory / file).stat()
                stamp = (about.st_mtime_ns, about.st_size)
                if self._seen.get(file) == stamp:
                    continue
                try:
                    if NOT_TEXT.search(file):
                        raise UserError(f"{file!r}: its name is not UTF-8")
                    read_definition(self.directory / file)
                except UserError as wrong:
                    error = str(wrong)
                found.append((file, stamp, error))
        return found

    def _read(self, file: str) -> list[ListedTask]:
        """The tasks of a file that are not done yet.

        Raises:
            UserError: it cannot be used.
        """
        tasks: list[Task] = []
        said: list[str] = []

        def read() -> str:
            defined = define(read_definition(self.directory / file))
            check_names(defined.tasks)
            tasks.extend(fitted(defined, self.backbone, self.methods))
            said.extend(defined.said)
            return digest([[task.name, repr(task.wording), repr(task.splits)] for task in tasks])

        if len(set(self.world.together(read))) > 1:
            raise UserError("it was written while ranks read it; write it again")
        for task in tasks:
            other = self._file_of.get(task.name.lower(), file)
            if other != file:
                raise UserError(f"task name {task.name} is that of {other} too; choose another")
        names = tuple(task.name for task in tasks)
        self._file_of |= dict.fromkeys((name.lower() for name in names), file)
        notes = tuple(f"inferred: {line}" for line in said)
        return [
            ListedTask(task, file, names, notes) for task in tasks if task.name not in self._taken
        ]
