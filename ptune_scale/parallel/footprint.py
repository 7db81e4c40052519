"""What a forward and backward pass takes: bytes in use, and bytes given to collectives.

Everything is counted as operations come by, for tensors on any device, the meta device among them.
"""

import math
from dataclasses import dataclass, field
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FORWARD, BACKWARD = "forward", "backward"
ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER = "all_reduce", "all_gather", "reduce_scatter"

_KINDS = {
    "allreduce_": ALL_REDUCE,
    "all_reduce": ALL_REDUCE,
    "all_reduce_": ALL_REDUCE,
    "allgather_": ALL_GATHER,
    "_allgather_base_": ALL_GATHER,
    "all_gather_into_tensor": ALL_GATHER,
    "_reduce_scatter_base_": REDUCE_SCATTER,
    "reduce_scatter_tensor": REDUCE_SCATTER,
}


def sent(kind: str, whole: int, ranks: int) -> int:
    """Bytes that each of ``ranks`` sends in a collective, by ring algorithms.

    Args:
        whole: bytes of what is reduced, of what has been gathered, or of what is scattered.
    """
    rounds = 2 if kind == ALL_REDUCE else 1
    return math.ceil(rounds * (ranks - 1) * whole / ranks)


@dataclass
class Footprint:
    """What one forward and backward pass takes.

    Attributes:
        kept: bytes that autograd keeps from the forward to the backward pass.
        peak: most bytes in use at any time, without weights; contains ``kept``.
        traffic: (collective, "forward" or "backward") -> bytes that this rank sends.
    """

    kept: int = 0
    peak: int = 0
    traffic: dict[tuple[str, str], int] = field(default_factory=dict)


class Watch(TorchDispatchMode):
    """Counts bytes in use and bytes given to collectives.

    Args:
        model: its weights are not counted.
        ranks: tensor-parallel degree; other ranks are not talked to within a pass.
    """

    def __init__(self, model: nn.Module, ranks: int) -> None:
        super().__init__()
        self.footprint = Footprint()
        self.direction = FORWARD
        self.live = 0
        self._ranks = ranks
        weights = (p.to_local() if isinstance(p, DTensor) else p for p in model.parameters())
        self._known: dict[int, object] = {w.untyped_storage()._cdata: w for w in weights}

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        if any(issubclass(t, (DTensor, AsyncCollectiveTensor)) for t in types):
            return NotImplemented  # they come back as operations on this rank's part
        if operation is torch.ops.aten._local_scalar_dense.default:
            # What models ask about numbers is whether positions count up without a break. They do.
            return True
        result = operation(*arguments, **(keywords or {}))
        if operation.namespace in ("c10d", "_c10d_functional"):
            self._count(operation.__name__.partition(".")[0], arguments[0], result)
        for tensor in tree_leaves(result):
            # DTensor works shapes out on fake tensors of its own.
            if isinstance(tensor, Tensor) and not isinstance(tensor, FakeTensor):
                self._hold(tensor.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def release() -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = finalize(storage, release)
        self.live += size
        self.footprint.peak = max(self.footprint.peak, self.live)

    def _count(self, name: str, given: Any, result: Any) -> None:
        if name not in _KINDS:
            return
        kind = _KINDS[name]
        whole = result if kind == ALL_GATHER else given
        tensors = [t for t in tree_leaves(whole) if isinstance(t, Tensor)]
        size = sum(t.numel() * t.element_size() for t in tensors)
        key = (kind, self.direction)
        traffic = self.footprint.traffic
        traffic[key] = traffic.get(key, 0) + sent(kind, size, self._ranks)
