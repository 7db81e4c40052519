"""What a server counts, for Prometheus."""

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ptune_scale.serve.ticket import Piece

_SECONDS = tuple(round(0.005 * 1.25**n, 4) for n in range(50))
"""From 5 ms to 280 s, each a quarter more: so exactly percentiles are known."""
_SHARED = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class Metrics:
    """Counters of one server.

    Args:
        waiting: how many requests wait or are computed.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        own: Any = {"registry": self.registry, "namespace": "ptune"}
        self.requests = Counter("requests", "requests by outcome", ["path", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "from a request to its reply", ["path"], buckets=_SECONDS, **own
        )
        self.tokens = Counter("tokens", "tokens computed", ["client"], **own)
        self.passes = Histogram("pass_seconds", "of a pass", buckets=_SECONDS, **own)
        self.shared = Histogram("pass_requests", "in a pass", buckets=_SHARED, **own)
        gauge = Gauge("waiting_requests", "requests that wait or are computed", **own)
        gauge.set_function(waiting)

    def passed(self, pieces: Sequence[Piece], seconds: float) -> None:
        """Count a pass."""
        self.passes.observe(seconds)
        self.shared.observe(len(pieces))
        for piece in pieces:
            self.tokens.labels(piece.ticket.caller.person.name).inc(piece.request.num_tokens)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
