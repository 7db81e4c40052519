"""Rows as texts."""

import pytest

from ptune_scale.task.record import Record, texts_of


def test_values_become_texts_by_dotted_names_in_the_order_of_the_row() -> None:
    row = {
        "text": " Rain. \n",
        "passage": {"text": "Wet", "at": {"line": 3}},
        "choices": ["a", {"text": "b"}],
        "yes": True,
        "share": 0.5,
        "nothing": None,
        "empty": "",
    }
    assert list(texts_of(row).items()) == [
        ("text", "Rain."),
        ("passage.text", "Wet"),
        ("passage.at.line", "3"),
        ("choices.0", "a"),
        ("choices.1.text", "b"),
        ("yes", "true"),
        ("share", "0.5"),
        ("empty", ""),
    ]


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two fields are called 'a.b'"):
        texts_of({"a": {"b": "1"}, "a.b": "2"})


def test_nesting_of_any_depth_is_no_recursion() -> None:
    value: object = "deep"
    for _ in range(5000):
        value = [value]
    assert list(texts_of({"a": value}).values()) == ["deep"]


def test_records_of_two_files_are_equal() -> None:
    assert Record("1", {}, None, source="a:1") == Record("1", {}, None, source="b:1")
