"""Small files are read whole or refused in a line that names them, whatever lies under the name."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ptune_scale.errors import UserError
from ptune_scale.reading import (
    check_kind,
    has_directory,
    has_file,
    is_texts,
    is_there,
    read_bytes,
    read_json,
    read_object,
    read_text,
    read_toml,
    shown,
)
from tests.campaigns.damage import JSON_VALUES, TOML_VALUES, UNREADABLE

READERS = (read_bytes, read_text, read_json, read_object, read_toml)


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("read", READERS)
def test_what_is_there_but_no_file_is_named(read: Callable, damage: Callable, tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    damage(path, Random(0))
    for look in (has_file, lambda path: read(path, "thing")):
        with pytest.raises(UserError, match="a.json") as refused:
            look(path)
        assert "No such file" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_a_name_that_is_there_is_not_taken_for_no_directory(damage: Callable, tmp_path: Path):
    path = tmp_path / "parts"
    path.write_text("")
    damage(path, Random(0))
    if damage.__name__ == "directory":
        assert has_directory(path)
        return
    with pytest.raises(UserError, match="parts"):
        has_directory(path)


def test_what_is_not_there_is_not_there(tmp_path: Path) -> None:
    for look in (is_there, has_file, has_directory):
        assert not look(tmp_path / "none" / "a.json")
    with pytest.raises(UserError, match="thing .*a.json: No such file"):
        read_text(tmp_path / "a.json", "thing")


def test_a_file_on_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("")
    with pytest.raises(UserError, match="train/a.jsonl cannot be read: Not a directory"):
        has_file(tmp_path / "train" / "a.jsonl")


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000):
        for look in (is_there, has_file, lambda path: read_bytes(path, "thing")):
            with pytest.raises(UserError):
                look(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0)
    with pytest.raises(UserError, match="thing .*a: Permission denied"):
        read_text(tmp_path / "a", "thing")


def test_a_mark_of_byte_order_is_no_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_text(path, "thing") == '{"a": 1}' and read_object(path, "thing") == {"a": 1}
    path.write_bytes(b"\xef\xbb\xbfa = 1")
    assert read_toml(path, "thing") == {"a": 1}


def test_lines_are_told_where_there_are_some(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b'{\n"a" 1}')
    with pytest.raises(UserError, match=r"a:2: not JSON"):
        read_json(path, "thing")
    path.write_bytes(b"x\ny\n\xff")
    with pytest.raises(UserError, match="a:3: not UTF-8"):
        read_text(path, "thing")


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_json_is_read_or_refused_in_one_line(value: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in (value, f"[{value}]", f'{{"a": {value}}}'):
        path.write_text(text)
        for read in (read_json, read_object):
            try:
                read(path, "thing")
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("value", TOML_VALUES, ids=range(len(TOML_VALUES)))
def test_any_toml_is_read_or_refused_in_one_line(value: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f"a = {value}")
    try:
        read_toml(path, "thing")
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_kinds_are_told_apart() -> None:
    check_kind(1, int, "n")
    check_kind(1, float, "n")
    for value, kind, message in (
        (True, int, "n is True, not a whole number"),
        (True, float, "n is True, not a number"),
        (1, bool, "n is 1, not true or false"),
        (None, str, "n is None, not a text"),
        ([], dict, "n is .*, not a table"),
        ({}, list, "n is {}, not a list"),
        (10**5000, str, "n is something of type int, not a text"),
    ):
        with pytest.raises(UserError, match=message):
            check_kind(value, kind, "n")
    assert is_texts({"a": "b"}) and not is_texts({"a": 1}) and not is_texts({1: "a"})
    assert not is_texts([]) and len(shown("x" * 5000)) == 60
