"""JSON that means one thing: whatever else is called JSON has a reason not to be taken."""

import json

import pytest

from ptune_scale.strict_json import parse_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 300 + "]" * 300, "nested too deeply"),
        ('{"a": ' * 300 + "1" + "}" * 300, "nested too deeply"),
        ("9" * 4301, "a number of 4301 digits"),
        ("1e999", "too large"),
        ("NaN", "NaN is not JSON"),
        ("-Infinity", "Infinity is not JSON"),
        ('"\\ud800"', "half a surrogate pair"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
    ],
)
def test_what_cannot_be_written_again_as_it_was_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text.encode())


def test_what_can_is_read() -> None:
    value = {"a": [1, -2.5, None, True, "Å\u0000"], "b": {"c": [[]] * 500}}
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(b"\xef\xbb\xbf1") == 1
    assert parse_json(b"[" * 200 + b"]" * 200)
    with pytest.raises(ValueError, match="not UTF-8"):
        parse_json(b'"\xff"')
