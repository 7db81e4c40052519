"""Linear layers whose frozen weights take 8 or 4 bits, stored as bitsandbytes stores them.

The layers of that library are not used, only what it offers for building such layers: its 8-bit
layer also rounds what is multiplied with the weights, and then returns the gradient of something
else than it computed; its 4-bit layer, on CPUs with bf16 instructions, arranges its weights anew in
the first pass without gradients and has none from then on.

Here the weight is made anew for each product, forward and backward, in the precision of what it is
multiplied with. The gradient is exactly that of a plain layer which holds the rounded weight.
"""

import functools
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptune_scale.backbone.options import WeightBits
from ptune_scale.errors import UserError

_BLOCK = 64
"""Weights that share a scale in 4 bits."""
_PIECE = 1 << 16
"""Weights that are rounded at once, about."""


@functools.cache
def load_library() -> ModuleType:
    """The functions of bitsandbytes.

    Raises:
        UserError: it is not installed, or cannot be used here.
    """
    # On some CPUs importing it warns that a kernel is missing which nothing here uses.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        from bitsandbytes import functional
    except ImportError as error:
        reason = "" if error.name == "bitsandbytes" else f" that can be imported ({error})"
        raise UserError(
            f"weights in 8 or 4 bits need the bitsandbytes package{reason}: pip install "
            "bitsandbytes, or leave them as they are (--weight_bits full)"
        ) from None
    return functional


class QuantizedLinear(nn.Module):
    """What the layers of all precisions have in common; they are made by ``quantize_linear``.

    Args:
        weight: (out, in), to be rounded.
        bias: (out,), kept as it is.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = None if bias is None else _frozen(bias.detach())

    def rounded(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in) that this layer computes with."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(..., out) from (..., in)."""
        return _Product.apply(x, self)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class _Product(torch.autograd.Function):
    """x W^T + b, with a gradient for x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        # Not the weight: it would be kept for all layers at once until the backward pass.
        ctx.layer = layer
        return F.linear(x, layer.rounded(x.dtype), layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.rounded(gradient.dtype), None


class EightBitLinear(QuantizedLinear):
    """Integers from -127 to 127 and a scale for each output (the weights of LLM.int8())."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        integers, largest = _by_pieces(_to_8_bits, weight.detach())
        self.integers = _frozen(integers)
        self.scales = _frozen(largest.unsqueeze(1) / 127)

    def rounded(self, dtype: torch.dtype) -> Tensor:
        # CPUs are slow at products of two precisions.
        return self.integers.float().mul_(self.scales).to(dtype)


class FourBitLinear(QuantizedLinear):
    """Two weights in a byte, each one of 16 levels (NF4), and a scale for each 64 of them."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        flat = weight.detach().flatten()
        # A block is a row of its own: on CPUs with AVX-512 the library gives wrong weights back
        # where blocks go across rows.
        rows = F.pad(flat, (0, -len(flat) % _BLOCK)).view(-1, _BLOCK)
        pairs, scales = _by_pieces(_to_4_bits, rows)
        self.pairs = _frozen(pairs)
        self.scales = _frozen(scales)

    def rounded(self, dtype: torch.dtype) -> Tensor:
        library = load_library()
        state = library.QuantState(
            self.scales,
            shape=torch.Size((len(self.scales), _BLOCK)),
            blocksize=_BLOCK,
            quant_type="nf4",
            dtype=dtype,
        )
        rows = library.dequantize_4bit(self.pairs, state)
        size = self.out_features * self.in_features
        return rows.flatten()[:size].view(self.out_features, self.in_features)


def _to_8_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Integers and the largest weight of each row."""
    # The library takes fp16 alone, which is eight times as fine as what comes out.
    integers, largest, _ = load_library().int8_vectorwise_quant(rows.half())
    return integers, largest


def _to_4_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of weights, (bytes, 1), and the largest weight of each row, which is a block."""
    pairs, state = load_library().quantize_4bit(rows, blocksize=_BLOCK, quant_type="nf4")
    return pairs, state.absmax


def _by_pieces(
    rounding: Callable[[Tensor], tuple[Tensor, Tensor]], rows: Tensor
) -> tuple[Tensor, Tensor]:
    """What a function of single rows gives, without the memory that it takes for all of them.

    On CPUs that is up to twenty bytes for each weight.
    """
    pieces = rows.split(max(1, _PIECE // rows.shape[1]))
    first, second = zip(*(rounding(piece) for piece in pieces), strict=True)
    return torch.cat(first), torch.cat(second)


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


_KINDS: dict[str, type[QuantizedLinear]] = {"8": EightBitLinear, "4": FourBitLinear}


def quantize_linear(weight: Tensor, bias: Tensor | None, bits: WeightBits) -> QuantizedLinear:
    """A layer of that many bits, from a weight (out, in) and a bias (out,).

    Raises:
        UserError: bitsandbytes is not installed.
    """
    return _KINDS[bits](weight, bias)
