"""JSON that means one thing and can be written again as it was."""

import codecs
import json
import math
from typing import Any, NoReturn

_MOST_DIGITS = 4300
"""Of a whole number: what Python turns into text and back without being told to."""

_DEEPEST = 200
"""Levels of lists and objects: what Python's recursive functions take wherever they are called."""


def parse_json(raw: bytes) -> Any:
    """A JSON value that can be written again as it was. A byte-order mark does not matter.

    Raises:
        ValueError: it is none; the message is the reason.
    """
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        value = json.loads(
            raw.decode(),
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_each_name_once,
        )
        if raw.count(b"[") + raw.count(b"{") > _DEEPEST:
            _check_depth(value)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except UnicodeEncodeError as error:
        raise ValueError("half a surrogate pair, which is no text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name!r} is there twice")
        values[name] = value
    return values


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        if not level:
            return
    raise ValueError("nested too deeply")
