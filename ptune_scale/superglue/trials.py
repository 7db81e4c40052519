"""What one way of asking, or one training, came to; each is kept in a file of its own."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Trial = dict[str, Any]
"""``dev`` and ``test`` metrics, test ``predictions``, and whatever its method adds; ready for
JSON."""


def read_trial(path: Path, key: str) -> Trial | None:
    """A trial that was kept under the same key; None if there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        saved = json.loads(path.read_text())
    except ValueError:
        return None
    return saved if saved.pop("key", None) == key else None


def write_trial(path: Path, key: str, trial: Trial) -> None:
    """Keep a trial; it replaces an older one of the name in a single step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.partial")
    scratch.write_text(json.dumps({"key": key, **trial}))
    os.replace(scratch, path)


def mean_of(trials: Sequence[Trial], part: str) -> dict[str, float]:
    """Mean of each metric over trials."""
    return {
        name: sum(trial[part][name] for trial in trials) / len(trials) for name in trials[0][part]
    }


def deviation_of(trials: Sequence[Trial], part: str) -> dict[str, float]:
    """Standard deviation of each metric over trials, with the n - 1 of a sample; 0 for one."""
    mean = mean_of(trials, part)
    return {
        name: (
            sum((trial[part][name] - mean[name]) ** 2 for trial in trials) / max(1, len(trials) - 1)
        )
        ** 0.5
        for name in mean
    }
