"""How long requests to a server take, by its own metrics."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

_ROUTE = "/v1/loss"


@dataclass(frozen=True)
class Latency:
    """What a server says of requests for losses and gradients, in seconds.

    Attributes:
        shared: requests in a pass, on average.
    """

    mean: float
    p50: float
    p90: float
    p99: float
    shared: float


def latency(url: str) -> Latency:
    """Percentiles of a server's seconds a request."""
    text = httpx2.get(f"{url}/metrics", trust_env=False).text
    name = f'ptune_request_seconds_bucket{{le="(.+?)",path="{_ROUTE}"}} (.+)'
    buckets = [(float(bound), float(count)) for bound, count in re.findall(name, text)]
    sums = dict(re.findall(r"^(ptune_pass_requests_\w+) (.+)$", text, re.MULTILINE))
    shared = float(sums["ptune_pass_requests_sum"]) / float(sums["ptune_pass_requests_count"])
    name = f'^ptune_request_seconds_(sum|count){{path="{_ROUTE}"}} (.+)$'
    seconds = dict(re.findall(name, text, re.MULTILINE))
    mean = float(seconds["sum"]) / float(seconds["count"])
    half, most, nearly_all = (percentile(buckets, share) for share in (0.5, 0.9, 0.99))
    return Latency(mean, half, most, nearly_all, shared)


def percentile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """The value that a share of a histogram lies below, evenly spread within a bucket.

    Args:
        buckets: upper bounds with how many lie below; the last bound is infinity.
    """
    wanted = share * buckets[-1][1]
    lower = below = 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf") or count == below:
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower
