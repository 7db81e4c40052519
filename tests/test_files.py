"""Files appear whole or not at all, never through a link, and errors say what to do."""

import json
import os
import stat
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.files import write_bytes, write_directory, write_file, write_json, write_text


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_text_bytes_and_json_are_written_with_directories_on_the_way(tmp_path):
    write_text(tmp_path / "a" / "b" / "text", "São Paulo\n")
    write_bytes(tmp_path / "a" / "bytes", b"\0\xff")
    write_json(tmp_path / "a" / "value.json", {"x": [1, 2]})
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "São Paulo\n".encode()
    assert (tmp_path / "a" / "bytes").read_bytes() == b"\0\xff"
    assert json.loads((tmp_path / "a" / "value.json").read_text()) == {"x": [1, 2]}
    assert names(tmp_path / "a") == ["b", "bytes", "value.json"]


def test_the_scratch_file_has_the_suffix_of_its_target(tmp_path):
    seen = []
    write_file(tmp_path / "plot.png", lambda path: (seen.append(path), path.write_text("x")))
    assert seen[0].name == "plot.png" and seen[0].parent != tmp_path
    assert seen[0].parent.parent == tmp_path  # so that a rename puts it in place
    assert names(tmp_path) == ["plot.png"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_there_stays_where_writing_fails(tmp_path, error):
    write_text(tmp_path / "file", "old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise error

    with pytest.raises(error):
        write_file(tmp_path / "file", fail)
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_link_in_the_place_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert not (tmp_path / "file").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_scratch_names_cannot_be_known_and_the_scratch_is_private(tmp_path):
    seen = []

    def look(path: Path) -> None:
        seen.append((path.parent, stat.S_IMODE(path.parent.stat().st_mode)))
        path.write_text("x")

    for _ in range(2):
        write_file(tmp_path / "file", look)
    assert seen[0][0] != seen[1][0]
    assert [mode for _, mode in seen] == [0o700, 0o700]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_follows_the_umask(tmp_path, umask, mode):
    former = os.umask(umask)
    try:
        write_text(tmp_path / "file", "x")
        write_directory(tmp_path / "directory", lambda path: (path / "file").write_text("x"))
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "directory" / "file").stat().st_mode) == mode
    directory = stat.S_IMODE((tmp_path / "directory").stat().st_mode)
    assert directory == 0o777 & ~umask


def test_file_and_directory_are_on_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    events = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        events.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        real_sync(descriptor)

    def replace(source, target) -> None:
        events.append(("replace", Path(target)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_text(tmp_path / "file", "x")
    assert [what for what, _ in events] == ["sync", "replace", "sync"]
    assert events[0][1].name == "file" and events[2][1] == tmp_path


def test_a_path_that_cannot_be_is_one_line_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"file/below cannot be written: .*part of that path"):
        write_text(tmp_path / "file" / "below", "x")
    with pytest.raises(UserError, match=r"/proc/nowhere/x cannot be written: .*choose another"):
        write_text(Path("/proc/nowhere/x"), "x")


def test_a_full_disk_is_one_line_that_says_what_to_do(tmp_path):
    def fill(path: Path) -> None:
        with open("/dev/full", "w") as stream:
            stream.write("x" * 100_000)

    with pytest.raises(UserError, match=r"out.json cannot be written: No space.*free some space"):
        write_file(tmp_path / "out.json", fill)
    assert names(tmp_path) == []


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    def fill(path: Path) -> None:
        (path / "sub").mkdir()
        (path / "sub" / "one").write_text("1")
        assert not (tmp_path / "new").exists()

    write_directory(tmp_path / "new", fill)
    assert (tmp_path / "new" / "sub" / "one").read_text() == "1"

    def fail(path: Path) -> None:
        (path / "one").write_text("1")
        raise ValueError

    with pytest.raises(ValueError):
        write_directory(tmp_path / "failed", fail)
    assert names(tmp_path) == ["new"]


def test_a_directory_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="choose a new directory"):
        write_directory(tmp_path / "full", lambda path: (path / "one").write_text("1"))
    assert names(tmp_path / "full") == ["precious"]
    write_directory(tmp_path / "empty", lambda path: (path / "one").write_text("1"))
    assert names(tmp_path / "empty") == ["one"]


def test_files_of_a_directory_have_the_mode_of_new_ones_and_shared_files_their_own(tmp_path):
    own = tmp_path / "own"
    own.write_text("weights")
    own.chmod(0o600)

    def fill(directory):
        (directory / "new").write_text("x")
        (directory / "new").chmod(0o600)
        os.link(own, directory / "shared")

    write_directory(tmp_path / "out", fill)
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert (tmp_path / "out" / "new").stat().st_mode == plain.stat().st_mode
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
