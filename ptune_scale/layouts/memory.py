"""Peak of the memory that a process allocated itself, files mapped into memory not counted."""

import threading
import time
from pathlib import Path
from types import TracebackType

_PERIOD_SECONDS = 0.005


def anonymous_bytes() -> int:
    """Resident anonymous memory of this process now (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon: not a Linux kernel")


class PeakMemory:
    """Context in which anonymous memory is sampled from a thread.

    Attributes:
        growth: bytes by which the peak exceeded what was in use at the start.
    """

    def __enter__(self) -> "PeakMemory":
        self._start = self._peak = anonymous_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._done.is_set():
            self._peak = max(self._peak, anonymous_bytes())
            time.sleep(_PERIOD_SECONDS)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self.growth = max(self._peak, anonymous_bytes()) - self._start
