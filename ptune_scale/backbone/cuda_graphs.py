"""Short passes as CUDA graphs: recorded once for each shape, then started as a whole.

With few tokens a GPU is done with each kernel before the host has prepared the next one, some
thousands in a step. PyTorch records the kernels of a forward and of a backward pass and starts them
together. A recording has its tensors in fixed places, so it serves one pass at a time.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import set_warn_on_accumulate_grad_stream_mismatch

Function = Callable[..., Tensor]
Shape = tuple[bool, tuple[torch.Size, ...]]
Record = Callable[[Function, tuple[Tensor, ...]], Function]

_MOST_SHAPES = 64
_MOST_BYTES = 1 << 31
"""Of what recordings are given, which each has in places of its own."""

_SHORT_TOKENS = 8192
"""What is kept for the backward pass of a recording stays in memory."""

_SHORT_OPERATIONS = 5e13
"""Beyond, a GPU has enough to do while the host prepares kernels."""


def is_short(num_tokens: int, num_parameters: int) -> bool:
    """Whether a pass is worth recording: the host would take longer for it than the GPU."""
    return num_tokens <= min(_SHORT_TOKENS, _SHORT_OPERATIONS / (6 * num_parameters))


class CudaGraphs:
    """A function of tensors that is recorded when a shape of them comes for the second time.

    While the backward pass of a recording is still to come, nothing is started from one: the next
    passes are computed as if there were none.

    Args:
        function: makes one tensor of several. The first is the one that may require a gradient;
            they and their result lie on one GPU, and nothing in it waits for that.
        record: what makes a recording, from the function and samples of what it will be given.
    """

    def __init__(self, function: Function, record: Record | None = None) -> None:
        self._function = function
        self._record = record or _Recorder()
        # By shape, the one that came last at the end.
        self._recorded: OrderedDict[Shape, Function | None] = OrderedDict()
        self._bytes: dict[Shape, int] = {}
        self._unfinished: Callable[[], object] = _nothing

    def __call__(self, *tensors: Tensor) -> Tensor:
        trains = torch.is_grad_enabled() and tensors[0].requires_grad
        recorded = self._of_shape(trains, tensors) if self._unfinished() is None else None
        if recorded is None:
            return self._function(*tensors)
        result = recorded(*tensors)
        if trains:
            # Until its gradient is there, or nobody can ask for it any more.
            self._unfinished = weakref.ref(result.grad_fn)
            tensors[0].register_hook(self._finish)
        # The next pass writes to the same place.
        return result.clone()

    def _of_shape(self, trains: bool, tensors: tuple[Tensor, ...]) -> Function | None:
        shape = (trains, tuple(tensor.shape for tensor in tensors))
        is_first = shape not in self._recorded
        recorded = self._recorded.setdefault(shape, None)
        self._recorded.move_to_end(shape)
        # Most shapes of a short job come once. What is set up at first use is, too.
        if recorded is None and not is_first:
            self._bytes[shape] = sum(tensor.nbytes for tensor in tensors)
            self._forget()
            samples = [tensor.detach().clone() for tensor in tensors]
            samples[0].requires_grad_(trains)
            recorded = self._recorded[shape] = self._record(self._function, tuple(samples))
        self._forget()
        return recorded

    def _forget(self) -> None:
        """Let go of what came longest ago, but not of what comes now."""
        while len(self._recorded) > 1 and (
            len(self._recorded) > _MOST_SHAPES or sum(self._bytes.values()) > _MOST_BYTES
        ):
            shape, _ = self._recorded.popitem(last=False)
            self._bytes.pop(shape, None)

    def _finish(self, gradient: Tensor) -> None:
        self._unfinished = _nothing


class _Recorder:
    """Records graphs that use the same memory, since they never run at the same time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Function, samples: tuple[Tensor, ...]) -> Function:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        # It warms up on one stream and records on another, and PyTorch would warn of that.
        set_warn_on_accumulate_grad_stream_mismatch(False)
        try:
            recorded: Any = torch.cuda.make_graphed_callables(function, samples, pool=self._pool)
        finally:
            set_warn_on_accumulate_grad_stream_mismatch(True)
        return recorded


def _nothing() -> None:
    return None
