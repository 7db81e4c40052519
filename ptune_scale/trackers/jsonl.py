"""Curves as lines of JSON, for whatever else reads them."""

import json
import time
from collections.abc import Mapping

from ptune_scale.files import write_text
from ptune_scale.trackers.tracker import Tracker, Training


class _Lines:
    def __init__(self, training: Training) -> None:
        path = training.directory / "curves.jsonl"
        kept = ""
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            kept = "".join(line for line in lines if _is_before(line, training.first_step))
        write_text(path, kept)
        self._stream = path.open("a", buffering=1)

    def add(self, values: Mapping[str, float], step: int) -> None:
        line = {"step": step, "time": round(time.time(), 3), **values}
        self._stream.write(f"{json.dumps(line)}\n")

    def close(self) -> None:
        self._stream.close()


def _is_before(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] < step)
    except ValueError:  # cut off by what ended the run
        return False


JSONL = Tracker("jsonl", "curves.jsonl, a line for each step", _Lines)
