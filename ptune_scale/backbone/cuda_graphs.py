"""Short passes as CUDA graphs: recorded once for each shape, then started as a whole.

With few tokens a GPU is done with each kernel before the host has prepared the next one, some
thousands in a step. PyTorch records the kernels of a forward and of a backward pass and starts them
together. A recording has its tensors in fixed places, so it serves one pass at a time.

All recordings share the memory that is between their inputs and their results: what the largest
pass takes stays taken. Inputs and results lie in places of each recording's own; the bytes of
inputs are bounded, results are small beside them. Once they are full, no more are recorded.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import set_warn_on_accumulate_grad_stream_mismatch

Function = Callable[..., Tensor]
Record = Callable[[Function, tuple[Tensor, ...]], Function]

_MOST_SHAPES = 64
_MOST_BYTES = 1 << 30
"""Of the inputs of all recordings together. What comes when they are full is not recorded."""

_SHORT_TOKENS = 4096
"""What is kept of them for a backward pass stays in memory: 1.6 GB for SmolLM2-135M in bf16."""

_SHORT_OPERATIONS = 4e10
"""For each of a GPU's processors. Beyond, it has enough to do while the host prepares kernels."""


class CudaGraphs:
    """A function of tensors that is recorded when a shape of them comes for the second time.

    While the backward pass of a recording is still to come, nothing is started from one: the next
    passes are computed as if there were none. A pass may have one backward pass, not several.

    Args:
        function: makes one tensor of several. The first is the one that may require a gradient;
            they and their result lie on one GPU, and nothing in it waits for that.
        num_parameters: that each token of a pass is multiplied with.
        num_processors: of the GPU (an H100 has 132).
        record: what makes a recording, from the function and samples of what it will be given.
    """

    def __init__(
        self,
        function: Function,
        num_parameters: int,
        num_processors: int,
        record: Record | None = None,
    ) -> None:
        self._function = function
        operations = _SHORT_OPERATIONS * num_processors
        self._most_tokens = min(_SHORT_TOKENS, int(operations / (6 * num_parameters)))
        self._record = record or _Recorder()
        self._recorded: dict[Any, Function] = {}
        self._bytes = 0
        # Shapes that came once, and those that are never recorded.
        self._seen: set[Any] = set()
        self._refused: set[Any] = set()
        self._unfinished: Callable[[], object] = _nothing

    def is_short(self, num_tokens: int) -> bool:
        """Whether a pass of so many, padding with them, takes a host longer than its GPU."""
        return num_tokens <= self._most_tokens

    @property
    def num_recorded(self) -> int:
        """How many shapes have been recorded."""
        return len(self._recorded)

    def __call__(self, *tensors: Tensor) -> Tensor:
        trains = torch.is_grad_enabled() and tensors[0].requires_grad
        recorded = self._of_shape(trains, tensors) if self._unfinished() is None else None
        if recorded is None:
            return self._function(*tensors)
        result = recorded(*tensors)
        if trains:
            self._wait_for(result.grad_fn)
        # The next pass writes to the same place.
        return result.clone()

    def _wait_for(self, node: Any) -> None:
        """Until its gradient was asked for, or nobody can ask for it any more."""
        unfinished = weakref.ref(node)

        def finish(*gradients: Any) -> None:
            if self._unfinished is unfinished:
                self._unfinished = _nothing

        self._unfinished = unfinished
        node.register_hook(finish)

    def _of_shape(self, trains: bool, tensors: tuple[Tensor, ...]) -> Function | None:
        shape = (trains, *((tensor.shape, tensor.dtype) for tensor in tensors))
        if shape in self._recorded:
            return self._recorded[shape]
        # Most shapes of a short job come once. What is set up at first use is, too.
        is_first, size = shape not in self._seen, sum(tensor.nbytes for tensor in tensors)
        self._seen.add(shape)
        has_room = len(self._recorded) < _MOST_SHAPES and self._bytes + size <= _MOST_BYTES
        if is_first or not has_room or shape in self._refused:
            return None
        try:
            samples = [tensor.detach().clone() for tensor in tensors]
            samples[0].requires_grad_(trains)
            self._recorded[shape] = self._record(self._function, tuple(samples))
        except torch.OutOfMemoryError:  # the pass by itself needs less
            self._refused.add(shape)
            return None
        self._bytes += size
        return self._recorded[shape]


class _Recorder:
    """Records graphs that use the same memory, since they never run at the same time."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: Any = None

    def __call__(self, function: Function, samples: tuple[Tensor, ...]) -> Function:
        with torch.cuda.device(samples[0].device):
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            self._stream = self._stream or torch.cuda.Stream()
            # PyTorch records on one stream for all devices, that of the first one.
            torch.cuda.graph.default_capture_stream = self._stream
            # It warms up on another, and would warn of that.
            set_warn_on_accumulate_grad_stream_mismatch(False)
            try:
                recorded: Any = torch.cuda.make_graphed_callables(
                    function, samples, pool=self._pool
                )
            finally:
                set_warn_on_accumulate_grad_stream_mismatch(True)
        return recorded


def _nothing() -> None:
    return None
