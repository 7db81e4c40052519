"""Norm and gate of the Llama family that keep little from the forward to the backward pass.

Autograd would keep the norm's input in fp32, and the gate's activation beside its inputs; both are
computed again. The scale of a norm never changes and gets no gradient.

Shapes: (..., D) hidden states, (..., 2 F) gate and up projections behind one another.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x ** 2) + epsilon) in fp32, rounded to the dtype of x, times weight (D,)."""
    return _RMSNorm.apply(x, weight, epsilon)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, (..., F)."""
    return _SwiGLU.apply(gate_up)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return weight * (wide * inverse).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        normed = x.float() * inverse
        wide = (gradient * weight).float()
        along = (wide * normed).mean(-1, keepdim=True)
        return ((wide - normed * along) * inverse).to(x.dtype), None, None


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gate, up = ctx.saved_tensors[0].chunk(2, dim=-1)
        of_gate = torch.ops.aten.silu_backward(gradient * up, gate)
        return torch.cat([of_gate, gradient * F.silu(gate)], dim=-1)
