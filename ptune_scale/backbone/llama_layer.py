"""One layer of the Llama family as a function: merged projections, little kept for backward.

Shapes: B lines, L tokens in a line, E keys (tokens and those before them), D hidden size, A query
heads, C key-value heads, W size of a head, F targets in a line.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ptune_scale.backbone.lean import rms_norm, swiglu
from ptune_scale.backbone.packed_linear import PackedWeight, linear

Past = tuple[Tensor, Tensor] | None
"""Keys and values (B, C, E - L, W) of tokens before those of a call."""


class Shape(NamedTuple):
    """Sizes that all layers of a model have in common.

    Attributes:
        heads, kv_heads, head_size: A, C, W.
        epsilon: of the norms.
        fused_attention: let PyTorch choose a kernel, instead of plain products.
    """

    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    fused_attention: bool


class Projection(NamedTuple):
    """Weight (out, in), bias (out,) if there is one, and the weight in other formats if wanted."""

    weight: Tensor
    bias: Tensor | None
    packed: PackedWeight | None

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.packed)


class Weights(NamedTuple):
    """Of one layer: scales of the norms (D,), and what is multiplied with."""

    input_norm: Tensor
    qkv: Projection
    output: Projection
    inner_norm: Tensor
    gate_up: Projection
    down: Projection


def run_layer(
    x: Tensor, mask: Tensor, rotation: Tensor, weights: Weights, shape: Shape, past: Past
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer.

    Args:
        x: (B, L, D).
        mask: (B, 1, L, E).
        rotation: (2, B, L, W).
        past: keys and values (B, C, E - L, W) of tokens before these.

    Returns:
        hidden states (B, L, D), keys and values (B, C, L, W).
    """
    heads, kv_heads = shape.heads, shape.kv_heads
    normed = rms_norm(x, weights.input_norm, shape.epsilon)
    mixed = weights.qkv(normed).unflatten(-1, (-1, shape.head_size))
    turned = _rotate(mixed[:, :, : heads + kv_heads], rotation)
    queries, keys = turned[:, :, :heads], turned[:, :, heads:]
    values = mixed[:, :, heads + kv_heads :]
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)
    x = _finish(x, _attend(queries, keys, values, mask, shape, past), weights, shape)
    return x, keys, values


def run_last_layer(
    x: Tensor,
    columns: Tensor,
    mask: Tensor,
    rotation: Tensor,
    weights: Weights,
    shape: Shape,
    past: Past,
) -> Tensor:
    """The layer at some columns (B, F) of each line alone: (B, F, D)."""
    heads, kv_heads, size = shape.heads, shape.kv_heads, shape.head_size
    normed = rms_norm(x, weights.input_norm, shape.epsilon)
    lines = torch.arange(len(x), device=x.device).unsqueeze(1)
    asked = normed[lines, columns]
    split, (weight, bias, _) = heads * size, weights.qkv
    query_bias, other_bias = (None, None) if bias is None else (bias[:split], bias[split:])
    queries = F.linear(asked, weight[:split], query_bias).unflatten(-1, (-1, size))
    others = F.linear(normed, weight[split:], other_bias).unflatten(-1, (-1, size))
    keys = _rotate(others[:, :, :kv_heads], rotation)
    queries = _rotate(queries, rotation[:, lines, columns])
    seen = mask[lines, 0, columns].unsqueeze(1)
    values = others[:, :, kv_heads:].transpose(1, 2)
    mixed = _attend(queries, keys.transpose(1, 2), values, seen, shape, past)
    return _finish(x[lines, columns], mixed, weights, shape)


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, shape: Shape, past: Past
) -> Tensor:
    """(B, L, A * W) from queries (B, L, A, W), keys and values (B, C, L, W)."""
    scale = 1 / math.sqrt(shape.head_size)
    if shape.fused_attention:
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        mixed = F.scaled_dot_product_attention(
            queries.transpose(1, 2), keys, values, mask, scale=scale, enable_gqa=True
        )
        return mixed.transpose(1, 2).flatten(2)
    # Queries of heads that share keys lie behind one another, so that keys are not repeated.
    length = queries.shape[1]
    grouped = queries.unflatten(2, (shape.kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    scores = grouped @ keys.transpose(-1, -2)
    if past is not None:
        # Scores are put together, not keys: those before may be many, and would be copied.
        scores = torch.cat([grouped @ past[0].transpose(-1, -2), scores], dim=-1)
    scores = scores.unflatten(2, (-1, length)) * scale + mask.unsqueeze(2)
    shares = scores.softmax(-1, dtype=torch.float32).to(values.dtype).flatten(2, 3)
    if past is None:
        mixed = shares @ values
    else:
        before = past[0].shape[2]
        mixed = shares[..., :before] @ past[1] + shares[..., before:] @ values
    return mixed.unflatten(2, (-1, length)).permute(0, 3, 1, 2, 4).flatten(2)


def _finish(x: Tensor, mixed: Tensor, weights: Weights, shape: Shape) -> Tensor:
    """Output projection and feed-forward part, each added to what came in."""
    x = x + weights.output(mixed)
    inner = weights.gate_up(rms_norm(x, weights.inner_norm, shape.epsilon))
    return x + weights.down(swiglu(inner))


def _rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Rotary positions on (B, L, heads, W)."""
    cosines, sines = rotation.unsqueeze(3)
    left, right = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat([-right, left], dim=-1) * sines
