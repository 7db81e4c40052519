"""What a person sees while a job runs: bars or lines of progress."""

import contextlib
import resource
import sys
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 30


class _Lines:
    """Standard error that is no terminal: what would redraw a bar becomes a line."""

    def write(self, text: str) -> None:
        # A log on a disk that is full is no reason to end what it is about.
        with contextlib.suppress(OSError):
            if line := text.strip("\r\n "):
                sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def bar(description: str, total: int | None, unit: str, *, shown: bool, initial: int = 0) -> tqdm:
    """Progress on standard error, with rate and time left.

    A bar on a terminal; elsewhere a line every half minute.

    Args:
        total: None where it is not known.
    """
    lines: dict[str, Any] = {}
    if not sys.stderr.isatty():
        seconds = _SECONDS_BETWEEN_LINES
        lines = {"file": _Lines(), "delay": seconds, "mininterval": seconds, "ncols": 100}
    return tqdm(
        desc=description,
        total=total,
        initial=initial,
        unit=f" {unit}",
        disable=not shown,
        dynamic_ncols=not lines,
        smoothing=0.05,
        **lines,
    )


def peak_memory_mb() -> float:
    """Peak memory of this process in MiB: of its GPU where it has one, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
