"""Commands that need no ranks: from a command line to an exit status."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from ptune_scale.errors import UserError
from ptune_scale.parallel.launch import guard
from ptune_scale.parser import called


def run_alone(name: str, action: Callable[[], int]) -> int:
    """Run a command that needs no ranks; returns the exit status.

    What is wrong is said in one line (status 2), and so is SIGINT or SIGTERM (128 + its number).
    """
    with guard.guarded(name), _interrupts() as seen:
        try:
            return action()
        except UserError as error:
            print(f"{called(name)}: error: {error.line}", file=sys.stderr)
            return 2
        except BaseException as error:
            # Within an import an interrupt may have become some other error.
            if not seen and not isinstance(error, KeyboardInterrupt):
                raise
            number = seen[0] if seen else signal.SIGINT
            print(f"{called(name)}: stopped by {signal.Signals(number).name}", file=sys.stderr)
            return 128 + number


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Numbers of the signals that came; each raises KeyboardInterrupt, so that all is tidied up."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    try:
        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone gets signals
        before = {}
    guard.hand_over()
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
