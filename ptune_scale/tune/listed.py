"""A directory of task files, each in its turn; files may come while others are worked on."""

import os
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import StopSignal, World
from ptune_scale.progress import tell
from ptune_scale.reading import NOT_TEXT
from ptune_scale.task.define import Definition, define, read_definition
from ptune_scale.task.task import Task, check_names
from ptune_scale.tune.check import fitted
from ptune_scale.tune.job import digest

_SECONDS_BETWEEN_LOOKS = 2.0
_LONG_LOOK = 0.1
"""Seconds; where a look takes longer, as among very many files, looks are as much rarer."""


def files_of(directory: Path) -> list[str]:
    """Task files in a directory and below it, as they are called from there.

    A directory that goes meanwhile, or cannot be looked into, is left out. Links to directories are
    not followed.
    """
    found: list[str] = []
    for place, below, names in os.walk(directory):
        below[:] = [name for name in below if not name.startswith(".")]
        here = Path(place).relative_to(directory)
        tasks = (name for name in names if name.endswith(".toml") and not name.startswith("."))
        found += ((here / name).as_posix() for name in tasks)
    return sorted(found)


def read_listed(directory: Path, file: str) -> Definition:
    """Read a task file of a list.

    Raises:
        UserError: as ``read_definition``; or its name is no text, so that nothing could tell of it.
    """
    if NOT_TEXT.search(file):
        raise UserError(f"task file {directory / file}: its name is not UTF-8")
    return read_definition(directory / file)


def _written(path: Path) -> tuple[int, int] | None:
    """When a file was written and how large it is; None where there is none, or not any more."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    except OSError:  # whoever reads it says why
        return (0, 0)
    return (about.st_mtime_ns, about.st_size)


def _as_text(name: str) -> str:
    """What can be written of a name whose bytes may not be UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class ListedTask:
    """A task of a list.

    Attributes:
        file: that it is read from, as it is called from the list's directory.
        tasks_of_file: identity of their names; the names themselves, kept of each of a thousand
            tasks, would be a million.
        notes: what was inferred.
    """

    task: Task
    file: str
    tasks_of_file: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EndedTask:
    """A task that is done.

    Attributes:
        tasks_of_file: identity of their names; the names themselves, kept of each of a thousand
            tasks, would be a million.
        steps: that it was trained.
    """

    name: str
    file: str
    tasks_of_file: str
    steps: int


def identity_of(names: Iterable[str]) -> str:
    """Of the tasks of a file."""
    return digest(sorted(names))


class TaskList:
    """The tasks of a directory, in the order of their files' names, those of new files last.

    Files are read when their turn comes. One that cannot be used is told of in a line, and looked
    at again when it has changed. ``next`` is called on all ranks together: what the first one sees
    in the directory counts for all.

    Args:
        stop: asked behind each file, for many may be read in vain.
        backbone, methods: that tasks have to fit.
        ended: tasks that are done already.

    Attributes:
        refused: by file, why it cannot be used, both in UTF-8.
    """

    def __init__(
        self,
        directory: Path,
        world: World,
        stop: StopSignal,
        backbone: Backbone,
        methods: Sequence[str],
        ended: Sequence[EndedTask] = (),
    ) -> None:
        self.directory = directory
        self.world = world
        self.stop = stop
        self.backbone = backbone
        self.methods = methods
        self.refused: dict[str, str] = {}
        self._ready: deque[ListedTask] = deque()
        self._files: deque[str] = deque()
        self._seen: dict[str, tuple[int, int]] = {}
        self._again: set[str] = set()  # files that are looked at when they change
        self._next_look = float("-inf")
        # Names of tasks that are done, or that somebody works on.
        self._taken = {each.name for each in ended}
        self._file_of = {each.name.lower(): each.file for each in ended}
        done: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for each in ended:
            done[each.file, each.tasks_of_file].append(each.name)
        self._done = {file for (file, named), names in done.items() if identity_of(names) == named}

    @property
    def waiting(self) -> int:
        """Tasks that are read, and files that are not."""
        return len(self._ready) + len(self._files)

    def next(self, *, look: bool) -> ListedTask | None:
        """The task whose turn it is; None where there is none for now.

        Args:
            look: for new files now, however short ago that was done.

        Raises:
            Stopped: the job was told to stop.
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
            self.stop.check()
        listed = self._ready.popleft()
        self._taken.add(listed.task.name)
        return listed

    def refuse(self, file: str, error: UserError, name: str = "") -> None:
        """Go on without a file, or without a task of it, whose name others may have then."""
        self._taken.discard(name)
        self._file_of.pop(name.lower(), None)
        path = str(self.directory / file)
        line = _as_text(error.line if path in error.line else f"{path}: {error.line}")
        self._again.add(file)
        self.refused[_as_text(file)] = line
        if self.world.is_main:
            tell(f"skipped: {line}")

    def _look(self, now: bool) -> None:
        found, gone = self.world.together(lambda: self._changes(now))[0]
        for file in gone:
            self._again.discard(file)
            self.refused.pop(_as_text(file), None)
            self._seen.pop(file, None)
        for file, stamp, error in found:
            self._seen[file] = stamp
            self._again.discard(file)
            self.refused.pop(_as_text(file), None)
            if error:
                self.refuse(file, UserError(error))
            else:
                self._files.append(file)

    def _changes(self, now: bool) -> tuple[list[tuple[str, tuple[int, int], str]], list[str]]:
        """New files, when and how large they were written, and what is wrong with their TOML; and
        those that could not be used and are gone."""
        started = time.monotonic()
        if not self.world.is_main or (started < self._next_look and not now):
            return [], []
        found: list[tuple[str, tuple[int, int], str]] = []
        files = files_of(self.directory)
        gone = sorted(self._again.difference(files))
        for file in files:
            if file in self._done or (file in self._seen and file not in self._again):
                continue
            stamp = _written(self.directory / file)
            if stamp is None or stamp == self._seen.get(file):
                continue
            error = ""
            try:
                read_listed(self.directory, file)
            except UserError as wrong:
                error = str(wrong)
            found.append((file, stamp, error))
        ended = time.monotonic()
        pause = _SECONDS_BETWEEN_LOOKS * max(1.0, (ended - started) / _LONG_LOOK)
        self._next_look = ended + pause
        return found, gone

    def _read(self, file: str) -> list[ListedTask]:
        """The tasks of a file that are not done yet.

        Raises:
            UserError: it cannot be used.
        """
        tasks: list[Task] = []
        said: list[str] = []

        def read() -> str:
            defined = define(read_listed(self.directory, file))
            check_names(defined.tasks)
            tasks.extend(fitted(defined, self.backbone, self.methods))
            said.extend(defined.said)
            return digest([repr(task) for task in tasks])

        if len(set(self.world.together(read))) > 1:
            raise UserError("it was written while ranks read it; write it again")
        for task in tasks:
            other = self._file_of.get(task.name.lower(), file)
            if other != file:
                raise UserError(f"task name {task.name} is that of {other} too; choose another")
        names = [task.name for task in tasks]
        self._file_of |= dict.fromkeys((name.lower() for name in names), file)
        identity, notes = identity_of(names), tuple(f"inferred: {line}" for line in said)
        return [
            ListedTask(task, file, identity, notes)
            for task in tasks
            if task.name not in self._taken
        ]
