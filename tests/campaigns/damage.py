"""Ways to damage an input: bytes, the values in it, and what lies under its name."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

Damage = Callable[[Path, Random], None]

DEEP = "[" * 100_000 + "]" * 100_000
JSON_VALUES = (
    *("null", "true", "false", "0", "1", "-1", "1.5", "7e300", "1e999", "NaN", "-Infinity"),
    *("9" * 5000, "-" + "9" * 30, '""', '" "', '"x"', '"\\ud800"', '"\\u0000"', '"a\\nb"'),
    *('"../../x"', '"/"', f'"{"x" * 20_000}"', "[]", "{}", "[[]]", '[{"a": 1}]', '{"a": {}}', DEEP),
    *('["x", "x"]', '["", null]', '{"": ""}', '"[P]*99999999999 [X] [Y]"', '"{a|b} {c...} [Y]"'),
)
"""Values that a JSON file may have where another one is expected."""

TOML_VALUES = (
    *("true", "0", "1", "-1", "1.5", "nan", "inf", "-inf", "1e400", "9" * 5000, "9" * 30),
    *(
        '""',
        '" "',
        '"x"',
        '"\\u0000"',
        '"a\\nb"',
        '"/"',
        '"."',
        "[]",
        "{}",
        '["x", "x"]',
        "[1, [2]]",
    ),
    *("1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", '{ a = "b" }', "{ a = { b = 1 } }"),
    *('["\\u0000"]', f'"{"x" * 20_000}"', "[" * 50_000 + "]" * 50_000, '"[P]*99999999999 [Y]"'),
)
"""The same of a TOML file."""

_PIECES = (
    *(b"\0", b"\n", b"\r", b'"', b"'", b",", b"{", b"}", b"[", b"]", b"\\", b"\xff\xfe", b"\xc3"),
    *(
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"NaN",
        b"1e999",
        b"9" * 5000,
        b"[" * 50_000,
        b"null",
        b"\xe2\x80\xa8",
    ),
)
_MARK = "@@HERE@@"


def flip(path: Path, chance: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 8) if content else 0):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(bytes(content))


def truncate(path: Path, chance: Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randint(0, len(content))])


def insert(path: Path, chance: Random) -> None:
    content = path.read_bytes()
    place = chance.randint(0, len(content))
    path.write_bytes(content[:place] + chance.choice(_PIECES) + content[place:])


def mark_of_order(path: Path, chance: Random) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def other_encoding(path: Path, chance: Random) -> None:
    path.write_bytes(path.read_bytes().decode("utf-8", "replace").encode("utf-16"))


def empty(path: Path, chance: Random) -> None:
    path.write_bytes(chance.choice([b"", b"\n", b" ", b"\xef\xbb\xbf"]))


def remove(path: Path, chance: Random) -> None:
    path.unlink()


def directory(path: Path, chance: Random) -> None:
    path.unlink()
    path.mkdir()


def dangling_link(path: Path, chance: Random) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def looping_link(path: Path, chance: Random) -> None:
    path.unlink()
    path.symlink_to(path.with_name("again"))
    path.with_name("again").symlink_to(path)


def pipe(path: Path, chance: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def file_for_directory(path: Path, chance: Random) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")


UNREADABLE: dict[str, Damage] = {
    each.__name__: each for each in (directory, dangling_link, looping_link, pipe)
}
"""What is there under the name then can be read by nobody."""

BYTES: dict[str, Damage] = {
    each.__name__: each
    for each in (flip, truncate, insert, mark_of_order, other_encoding, empty, remove)
}


def json_value(path: Path, chance: Random) -> None:
    """Another value somewhere in a JSON file."""
    path.write_text(odd_json(json.loads(path.read_bytes()), chance), encoding="utf-8")


def json_line(path: Path, chance: Random) -> None:
    """Another value in a line of a JSON lines file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    place = chance.randrange(len(lines))
    lines[place] = odd_json(json.loads(lines[place]), chance)
    path.write_text("\n".join(lines), encoding="utf-8")


def toml_value(path: Path, chance: Random) -> None:
    """Another value in a line of a TOML file, or another line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    places = [i for i, line in enumerate(lines) if re.match(r"\s*\w+\s*=", line)]
    place = chance.choice(places)
    key = lines[place].partition("=")[0]
    odd = chance.choice(TOML_VALUES)
    if chance.random() < 0.15:
        lines.insert(place, f"{chance.choice(['x', 'words', 'train', key])} = {odd}")
    elif chance.random() < 0.1:
        lines.insert(place, f"[{chance.choice(['x', 'data', 'answer', key.strip()])}]")
    else:
        lines[place] = f"{key}= {odd}"
    path.write_text("\n".join(lines), encoding="utf-8")


def odd_json(value: Any, chance: Random, odd: str | None = None) -> str:
    """The text of a JSON value with another one somewhere in it, or a name lost or there twice."""
    places = [(None, None), *_places(value)]
    container, key = chance.choice(places)
    if container is None:
        return odd or chance.choice(JSON_VALUES)
    action = chance.random()
    if isinstance(container, dict) and action < 0.1:
        del container[key]
        return json.dumps(value)
    if isinstance(container, dict) and action < 0.15:
        container[f"{key}{_MARK}"] = container[key]
        return json.dumps(value).replace(_MARK, "")
    container[key] = _MARK
    return json.dumps(value).replace(f'"{_MARK}"', odd or chance.choice(JSON_VALUES))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Places in a value; of long lists only some."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys[:40]:
            yield value, key
            yield from _places(value[key])
