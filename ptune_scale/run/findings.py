"""What was found out by trying, kept for the same circumstances: verdicts and measurements.

They lie beside the converted models (``PTUNE_SCALE_CACHE``). One that cannot be read, or is of
other circumstances, is found out again; one that cannot be written is no fault.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import ptune_scale
from ptune_scale.backbone.gguf import cache_root
from ptune_scale.errors import UserError
from ptune_scale.files import write_json

Value = TypeVar("Value")


def finding(kind: str, circumstances: object, find_out: Callable[[], Value]) -> Value:
    """A value that was found before in the same circumstances, or that is found now and kept.

    Args:
        kind: what is found out, the name of a folder.
        circumstances: all that the value depends on besides this package's code, as JSON has it.
        find_out: gives the value, which has to be as it was after a way through JSON. None, and
            what it raises, are not kept.
    """
    circumstances = [_code(), circumstances]
    key = hashlib.sha256(json.dumps(circumstances).encode()).hexdigest()[:32]
    path = cache_root() / kind / f"{key}.json"
    # Written beside the value: a file that was cut short, or is something else, is not believed.
    about = json.loads(json.dumps(circumstances))
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["about"] == about:
            return kept["found"]
    found = find_out()
    if found is not None:
        with contextlib.suppress(UserError):
            write_json(path, {"found": found, "about": about})
    return found


@cache
def _code() -> str:
    """Identity of this package's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(ptune_scale.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
