"""What a run was told, in its output directory, so that it can go on with the same flags."""

import json
from pathlib import Path
from typing import Any

_FILE = "run.json"
_NOT_KEPT = ("resume_from", "output_dir")


def save_flags(output: Path, flags: dict[str, Any]) -> None:
    """Write the flags of the run that begins, or goes on, in a directory."""
    kept = {name: value for name, value in flags.items() if name not in _NOT_KEPT}
    scratch = output / f".{_FILE}.partial"
    scratch.write_text(json.dumps(kept, indent=1))
    scratch.replace(output / _FILE)


def read_flags(output: Path) -> dict[str, Any] | None:
    """The flags of the latest run in a directory; None if it says nothing that can be read."""
    try:
        saved = json.loads((output / _FILE).read_text())
    except (OSError, ValueError):
        return None
    return saved if isinstance(saved, dict) else None
