"""run.json says what a run was told, as long as the run could go on with it."""

import json
import shutil

import pytest

from ptune_scale.errors import PartlyDone, UserError
from ptune_scale.files import NotWritten
from ptune_scale.parallel import World
from ptune_scale.run.told import RUN_FILE, find_run, read_told, told


def test_flags_are_kept_but_for_places(tmp_path):
    flags = {"seed": 3, "output_dir": "out", "resume_from": "out"}
    with told(World(), tmp_path, "lama", flags):
        assert read_told(tmp_path, "lama") == {"seed": 3}
    assert read_told(tmp_path, "lama") == {"seed": 3}


def test_a_run_that_ends_otherwise_than_by_refusing_keeps_them(tmp_path):
    with pytest.raises(KeyboardInterrupt), told(World(), tmp_path, "lama", {"seed": 3}):
        raise KeyboardInterrupt
    assert read_told(tmp_path, "lama") == {"seed": 3}


def test_refused_flags_give_way_to_those_before(tmp_path):
    with told(World(), tmp_path, "lama", {"seed": 3}):
        pass
    with pytest.raises(UserError), told(World(), tmp_path, "lama", {"seed": 4}):
        raise UserError("cannot go on with that")
    assert read_told(tmp_path, "lama") == {"seed": 3}


def test_a_refused_run_that_wrote_nothing_leaves_nothing(tmp_path):
    (tmp_path / ".lock").touch()
    with pytest.raises(UserError), told(World(), tmp_path, "lama", {}):
        raise UserError("no")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with pytest.raises(UserError), told(World(), tmp_path, "lama", {"seed": 3}):
        (tmp_path / "checkpoint").mkdir()
        raise UserError("diverged")
    assert json.loads((tmp_path / RUN_FILE).read_text())["flags"] == {"seed": 3}


def test_only_the_main_rank_writes(tmp_path, monkeypatch):
    other = World(rank=1, size=1)
    with told(other, tmp_path, "lama", {}):
        assert not list(tmp_path.iterdir())


def test_runs_are_found_from_below_and_nowhere_else(tmp_path):
    (tmp_path / "run" / "a" / "b").mkdir(parents=True)
    (tmp_path / "run" / RUN_FILE).write_text("{}")
    assert find_run(tmp_path / "run" / "a" / "b") == tmp_path / "run"
    assert find_run(tmp_path / "run") == tmp_path / "run"
    assert find_run(tmp_path) is None
    assert find_run(tmp_path / "none") is None


def test_a_disk_that_is_full_is_nothing_wrong_with_what_it_was_told(tmp_path):
    with pytest.raises(NotWritten), told(World(), tmp_path, "lama", {"seed": 3}):
        raise NotWritten("no space")
    assert read_told(tmp_path, "lama") == {"seed": 3}


def test_what_could_be_done_in_part_was_told_nothing_wrong(tmp_path):
    with told(World(), tmp_path, "tune", {"backbone": "http://old"}):
        pass
    with pytest.raises(PartlyDone), told(World(), tmp_path, "tune", {"backbone": "http://new"}):
        raise PartlyDone("not everything is done")
    assert read_told(tmp_path, "tune") == {"backbone": "http://new"}


def test_a_run_whose_directory_was_removed_can_go_on_with_what_came_after(tmp_path):
    with pytest.raises(KeyboardInterrupt), told(World(), tmp_path / "out", "lama", {"seed": 3}):
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out" / "checkpoint").mkdir(parents=True)
        raise KeyboardInterrupt
    assert read_told(tmp_path / "out", "lama") == {"seed": 3}


def test_the_remains_of_a_killed_write_go(tmp_path):
    (tmp_path / ".run.json.abc.partial").mkdir()
    with told(World(), tmp_path, "lama", {}):
        assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b'{"flags": 5}', b"\xff"])
def test_a_damaged_file_is_one_line_that_says_what_to_do(tmp_path, content):
    (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"run.json.*goes on from a checkpoint"):
        read_told(tmp_path, "lama")
