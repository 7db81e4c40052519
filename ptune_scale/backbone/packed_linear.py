"""Products with a weight that oneDNN has reordered once, for the product and for its gradient.

A CPU product in a 16-bit type reorders the weight in every call; a weight that never changes can be
reordered once. The input's gradient is a product with the transposed weight, which gets a format of
its own: two copies beside the weight, for products that are faster by some percent.

Shapes: N tokens, I inputs, O outputs.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_TYPICAL_TOKENS = 256


class PackedWeight(NamedTuple):
    """A weight (O, I) in two formats, opaque to all but oneDNN.

    Attributes:
        forward: for x @ weight.T.
        backward: for gradient @ weight.
    """

    forward: Tensor
    backward: Tensor


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN is there for the weight's device and dtype."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def pack_weight(weight: Tensor) -> PackedWeight:
    """Reorder a weight that ``can_pack``."""
    reorder = torch.ops.mkldnn._reorder_linear_weight
    transposed = weight.t().contiguous()
    return PackedWeight(reorder(weight, _TYPICAL_TOKENS), reorder(transposed, _TYPICAL_TOKENS))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, packed: PackedWeight | None) -> Tensor:
    """x @ weight.T + bias, (..., I) -> (..., O); gradients flow to x alone.

    Args:
        packed: the same weight in other formats; None to use it as it is.
    """
    if packed is None:
        return F.linear(x, weight, bias)
    result = _PackedLinear.apply(x, packed.forward, packed.backward)
    return result if bias is None else result + bias


class _PackedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
        ctx.packed = backward
        return _product(x, forward)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _product(gradient.contiguous(), ctx.packed), None, None


# The compiler has a lowering for the operator beneath, which wants the weight as a constant.
@torch.library.custom_op("ptune_scale::packed_product", mutates_args=())
def _product(x: Tensor, packed: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


@_product.register_fake
def _(x: Tensor, packed: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])
