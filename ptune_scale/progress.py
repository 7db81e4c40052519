"""What a person sees while a job runs: bars on a terminal, elsewhere a line every half minute."""

import contextlib
import io
import resource
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 30.0


class _Bar(tqdm):
    """A bar that tells a rate in things a second, however slow, and new values with the next ones.

    tqdm redraws for each new value.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} [{elapsed}<{remaining}, "
        form += "{rate_noinv_fmt}{postfix}]"
        super().__init__(*args, bar_format=form if kwargs.get("total") else None, **kwargs)

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Show values beside the bar from its next move on."""
        super().set_postfix(*args, refresh=False, **kwargs)


class Quiet(_Bar):
    """The same without drawing anything: it counts, and says in a line how far it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, file=io.StringIO(), **kwargs)

    def display(self, *args: Any, **kwargs: Any) -> None:
        """Draw nothing."""

    def line(self) -> str:
        """How far it is.

        Example:
            ptuning: 35%, 672/1920 records, step=84/240, loss=1.23, 21.3 records/s, 00:59 left
        """
        now = self.format_dict
        total, rate = now["total"], now["rate"]
        if not rate:
            done = now["n"] - now["initial"]
            rate = done / now["elapsed"] if now["elapsed"] > 0 else 0
        parts = [f"{100 * now['n'] / total:.0f}%"] if total else []
        parts.append(f"{now['n']:.0f}{f'/{total}' if total else ''}{now['unit']}")
        parts += [now["postfix"]] if now["postfix"] else []
        parts.append(f"{rate:.3g}{now['unit']}/s")
        if total and rate:
            parts.append(f"{tqdm.format_interval(max(0, total - now['n']) / rate)} left")
        return f"{now['prefix']}: {', '.join(parts)}"


class _Counter(Quiet):
    """What is told by the pulse, where nothing can be redrawn."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _pulse.begin(self)

    def close(self) -> None:
        """Tell how it ended, where it took long enough to be told before."""
        if not self.disable and self.format_dict["elapsed"] > _SECONDS_BETWEEN_LINES:
            _say(self.line())
        _pulse.end(self)
        super().close()


class _Told(Protocol):
    def line(self) -> str: ...


class _Phase:
    """What is done without being counted."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.begun = time.monotonic()

    def line(self) -> str:
        return f"{self.what}: {tqdm.format_interval(time.monotonic() - self.begun)} so far"


class _Pulse:
    """Tells every half minute what is going on, the innermost thing of several."""

    def __init__(self) -> None:
        self._going_on: list[_Told] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def begin(self, one: _Told) -> None:
        with self._lock:
            self._going_on.append(one)
            if len(self._going_on) == 1:
                self._ended = threading.Event()
                threading.Thread(target=self._beat, args=(self._ended,), daemon=True).start()

    def end(self, one: _Told) -> None:
        with self._lock:
            # By identity: two of tqdm's bars are equal where they are drawn on the same line.
            self._going_on = [each for each in self._going_on if each is not one]
            if not self._going_on:
                self._ended.set()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(_SECONDS_BETWEEN_LINES):
            with self._lock:
                line = self._going_on[-1].line() if self._going_on else ""
            if line:
                _say(line)


_pulse = _Pulse()


def _say(line: str) -> None:
    # A log on a disk that is full is no reason to end what it is about.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def tell(line: str) -> None:
    """Say something on standard error, where bars may stand."""
    with contextlib.suppress(OSError, ValueError):
        tqdm.write(line, file=sys.stderr)


@contextlib.contextmanager
def doing(what: str, *, shown: bool) -> Iterator[None]:
    """Something that takes a while and cannot be counted: told where there is no terminal."""
    if not shown or sys.stderr.isatty():
        yield
        return
    phase = _Phase(what)
    _pulse.begin(phase)
    try:
        yield
    finally:
        _pulse.end(phase)


def bar(description: str, total: int | None, unit: str, *, shown: bool, initial: int = 0) -> tqdm:
    """Progress on standard error, with rate and time left.

    A bar on a terminal; elsewhere a line every half minute.

    Args:
        total: None where it is not known.
    """
    kind = _Bar if sys.stderr.isatty() or not shown else _Counter
    return kind(
        desc=description,
        total=total,
        initial=initial,
        unit=f" {unit}",
        disable=not shown,
        dynamic_ncols=True,
        smoothing=0.05,
    )


def peak_memory_mb() -> float:
    """Peak memory of this process in MiB: of its GPU where it has one, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
