"""What a person sees while a job runs: bars or lines of progress."""

import contextlib
import resource
import sys
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 30


class _Bar(tqdm):
    """A bar that tells a rate in things a second, however slow, and new values with the next ones.

    tqdm redraws for each new value: as lines, most of these would say the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} [{elapsed}<{remaining}, "
        form += "{rate_noinv_fmt}{postfix}]"
        super().__init__(*args, bar_format=form if kwargs.get("total") else None, **kwargs)

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Show values beside the bar from its next move on."""
        super().set_postfix(*args, refresh=False, **kwargs)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Show a text there, at once on a terminal."""
        super().set_postfix_str(s, refresh and sys.stderr.isatty())


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
        lines = {"file": _Lines(), "delay": seconds, "mininterval": seconds, "ncols": 110}
        lines["miniters"] = 1  # else tqdm, seeing few moves, repeats a line every ten seconds
    return _Bar(
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
