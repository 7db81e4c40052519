"""A directory of task files: which of its tasks has its turn."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ptune_scale.backbone import load_backbone
from ptune_scale.parallel import StopSignal, World
from ptune_scale.tune.listed import EndedTask, TaskList, files_of, identity_of

TWO = """
pattern = "{place} [P] [Y]"
[data]
train = "two.jsonl"
dev = 0
[answer]
field = "label"
words = { north = "Oslo", south = "Rome" }
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A file of two tasks."""
    rows = [
        {"taskname": task, "place": f"{place} {number}", "label": label}
        for task in ("b", "a")
        for number, (place, label) in enumerate([("Norway", "north"), ("Italy", "south")] * 4)
    ]
    (tmp_path / "two.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "two.toml").write_text(TWO)
    return tmp_path


@pytest.fixture
def names(directory: Path, tiny_gpt2: Path):
    """The tasks of the list that come, if some are done already."""
    backbone = load_backbone(str(tiny_gpt2))

    def come(*ended: str, refused: Sequence[str] = ()) -> list[str]:
        done = [EndedTask(name, "two.toml", identity_of("ab"), 3) for name in ended]
        world = World()
        tasks = TaskList(directory, world, StopSignal(world), backbone, ["ptuning"], done)
        found = []
        while (listed := tasks.next(look=True)) is not None:
            assert listed.file == "two.toml" and listed.tasks_of_file == identity_of("ab")
            found.append(listed.task.name)
        assert list(tasks.refused) == list(refused) and not tasks.waiting
        return found

    return come


def test_each_task_of_a_file_has_its_turn_but_those_that_are_done(names) -> None:
    assert names() == ["a", "b"]
    assert names("a") == ["b"]


def test_a_file_whose_tasks_are_all_done_is_not_read_again(directory: Path, names) -> None:
    (directory / "two.jsonl").unlink()
    assert names("b", "a") == []


def test_hidden_files_and_directories_hold_no_tasks(directory: Path) -> None:
    for name in (".hidden.toml", ".git/other.toml", "below/deep/third.toml"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")
    assert files_of(directory) == ["below/deep/third.toml", "two.toml"]


def test_links_that_lead_nowhere_or_in_circles_are_not_in_the_way(
    directory: Path, names, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "later.toml").symlink_to("not_yet.toml")
    (directory / "loop.toml").symlink_to("loop.toml")
    (directory / "around").symlink_to(directory)
    assert names(refused=["loop.toml"]) == ["a", "b"]
    assert f"skipped: {directory}/loop.toml is a link" in capsys.readouterr().err


class Rank(World):
    """One of two ranks that are threads of a process; the second acts when the first has acted."""

    given: list = [None, None]
    met = threading.Barrier(2, timeout=60)
    between: Iterator[Callable[[], object]]
    """What happens meanwhile, each time."""

    def gather(self, value):
        self.given[self.rank] = value
        self.met.wait()
        found = list(self.given)
        self.met.wait()
        return found

    def max(self, value):
        return max(self.gather(value))

    def together(self, action):
        def in_turn():
            if not self.is_main:
                self.met.wait()
                return action()
            try:
                return action()
            finally:
                next(Rank.between)()
                self.met.wait()

        return super().together(in_turn)


@pytest.mark.parametrize(("line", "count"), [("", 2), ('metrics = ["mcc"]', 0)])
def test_a_file_that_changes_while_ranks_read_it_is_not_begun(
    line: str, count: int, directory: Path, tiny_gpt2: Path
) -> None:
    backbone = load_backbone(str(tiny_gpt2))

    def change() -> None:
        (directory / "two.toml").write_text(f"{line}\n{TWO}")

    def nothing() -> None:
        pass

    # The first rank lists the directory, then both read the file.
    Rank.between = itertools.chain([nothing, change], itertools.repeat(nothing))

    def come(rank: int) -> list[str]:
        world = Rank(rank, 2)
        tasks = TaskList(directory, world, StopSignal(world), backbone, ["ptuning"])
        found = []
        while (listed := tasks.next(look=not found)) is not None:
            found.append(listed.task.name)
        assert len(tasks.refused) == (not count)
        return found

    with ThreadPoolExecutor(2) as ranks:
        assert list(ranks.map(come, (0, 1))) == [["a", "b"][:count]] * 2
