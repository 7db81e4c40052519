"""What the ranks of a server do: the main one takes requests, all compute them together."""

import time
from collections.abc import Callable, Sequence

from ptune_scale.parallel import PromptFunction, StopSignal
from ptune_scale.serve.queue import Queue
from ptune_scale.serve.ticket import Piece
from ptune_scale.serve.together import compute

_TICK_SECONDS = 0.5
"""Ranks that wait for the main one hear from it so often: a signal is noticed then."""


def answer_requests(
    function: PromptFunction,
    stop: StopSignal,
    queue: Queue | None,
    on_stop: Callable[[], None],
    after_pass: Callable[[Sequence[Piece], float], None],
) -> None:
    """Answer requests until the server is told to end; all ranks call it together.

    Args:
        queue: on the main rank.
        on_stop: called at the first signal; closes the queue.
        after_pass: is given the pieces of each pass, and how many seconds it took.
    """
    world, is_stopping = function.world, False
    while True:
        if not is_stopping and stop.heard():
            is_stopping = True
            on_stop()
        pieces = queue.take(_TICK_SECONDS) if queue is not None else []
        requests = world.share(None if pieces is None else [piece.request for piece in pieces])
        if requests is None:
            return
        if not requests:
            continue
        started = time.perf_counter()
        found = compute(function, requests)
        if pieces:
            for piece, each in zip(pieces, found, strict=True):
                piece.ticket.add(piece, each)
            after_pass(pieces, time.perf_counter() - started)
