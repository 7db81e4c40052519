"""The rate of bare matrix products, the limit that time is compared with.

Of the model's own shapes: tokens of a step x H x two times the widest linear map, as gate and up
projections in one product. Measured in turn with the sides, as clock speeds and neighbours change.
"""

import time

import torch

from ptune_scale.bench.feed import Round
from ptune_scale.bench.flops import ModelSizes
from ptune_scale.bench.rounds import Clock, Done

_SECONDS = 0.3


class MatrixProduct:
    """Repeats one product in a dtype.

    Args:
        device: where.
    """

    def __init__(self, sizes: ModelSizes, dtype: torch.dtype, device: torch.device) -> None:
        self.name = matmul_name(dtype)
        self._dtype = dtype
        self._device = device
        self._inner, self._outer = sizes.hidden_size, 2 * sizes.widest
        self._weight: torch.Tensor | None = None
        self._repeats = 8

    def start(self) -> None:
        self._weight = torch.randn(self._inner, self._outer, device=self._device).to(self._dtype)

    def run(self, facts: Round) -> Done:
        """So many products as took about 0.3 seconds in the round before."""
        rows = max(1, facts.tokens // len(facts.steps))
        tokens = torch.randn(rows, self._inner, device=self._device).to(self._dtype)
        clock = Clock(self._device)
        started = clock.read()[0]
        for _ in range(self._repeats):
            torch.mm(tokens, self._weight)
        taken = max(clock.read()[0] - started, time.get_clock_info("perf_counter").resolution)
        done = Done(0, 0, 0, 2.0 * rows * self._inner * self._outer * self._repeats)
        self._repeats = max(1, round(self._repeats * min(1000.0, _SECONDS / taken)))
        return done


def matmul_name(dtype: torch.dtype) -> str:
    """What the products of a dtype are called among the sides."""
    return f"matmul_{str(dtype).removeprefix('torch.')}"
