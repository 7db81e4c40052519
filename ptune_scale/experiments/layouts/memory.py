"""Peak of the memory that a process allocated itself, files mapped into memory not counted."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

_PERIOD_SECONDS = 0.005


def anonymous_bytes() -> int:
    """Resident anonymous memory of this process now (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon: not a Linux kernel")


@contextlib.contextmanager
def sampled_memory() -> Iterator[list[int]]:
    """Context in which anonymous memory is sampled from a thread; the list gets its bytes."""
    samples, done = [anonymous_bytes()], threading.Event()

    def sample() -> None:
        while not done.wait(_PERIOD_SECONDS):
            samples.append(anonymous_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
        samples.append(anonymous_bytes())
