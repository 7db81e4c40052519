"""Layers of the Llama family, arranged for a model whose weights never change.

Query, key and value projections are one matrix product, and so are gate and up; the last layer
works at the targets alone. The modules that the model was loaded with keep their weights, as views
of the merged ones, so that nothing is held twice.

Norm scales stay apart: folded into the next projection they would be rounded with it, and what
they cost is below a hundredth of a step.

Shapes: B lines, L tokens in a line, E keys (tokens and those before them), D hidden size, A query
heads, C key-value heads, W size of a head, F targets in a line, N rows, K targets in a row.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from ptune_scale.backbone.lean import rms_norm, swiglu
from ptune_scale.backbone.lines import Lines
from ptune_scale.backbone.packed_linear import PackedWeight, can_pack, linear, pack_weight

_KINDS = (LlamaDecoderLayer, MistralDecoderLayer, Qwen2DecoderLayer)
_VARIANTS = 32
Past = tuple[Tensor, Tensor] | None


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
    """Weight (out, in), bias (out,) if there is one, and the weight in other layouts if wanted."""

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


def can_prepare(model: PreTrainedModel) -> bool:
    """Whether the layers compute what this file does, and their weights are whole and at hand."""
    layers = getattr(model.base_model, "layers", [])
    config = model.config
    return (
        bool(len(layers))
        and all(type(layer) in _KINDS for layer in layers)
        and config.hidden_act == "silu"
        and not getattr(config, "mlp_bias", False)
        and not getattr(config, "use_sliding_window", False)
        and all(type(p) is nn.Parameter and p.numel() for p in layers.parameters())
        and all(type(m) is nn.Linear for m in layers.modules() if hasattr(m, "in_features"))
    )


class PreparedLayers(nn.Module):
    """Runs lines through all layers and the last norm of a model.

    Args:
        model: one that ``can_prepare``; its layers' weights are moved.
        compile: compile the layer, which all share.
        pack_weights: keep weights in oneDNN's layouts too, where it is there for them.
        last_at_targets: the last layer computes keys and values of all tokens, the rest at targets.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        compile: bool = False,
        pack_weights: bool = False,
        last_at_targets: bool = True,
    ) -> None:
        super().__init__()
        config, base = model.config, model.base_model
        head_size = getattr(config, "head_dim", None)
        self.shape = Shape(
            config.num_attention_heads,
            config.num_key_value_heads,
            head_size or config.hidden_size // config.num_attention_heads,
            config.rms_norm_eps,
            config._attn_implementation == "sdpa",
        )
        self.last_at_targets = last_at_targets
        # Merging copies most weights. Were the others left in the file from which they are mapped,
        # all its pages would stay in memory with them.
        if model.device.type == "cpu":
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
        # No submodules: the weights are the model's and must not be counted twice.
        self._weights = [_merge(layer, pack_weights) for layer in base.layers]
        self._rotary, self._norm = [base.rotary_emb], [base.norm]
        self._layer: Callable[..., tuple[Tensor, Tensor, Tensor]] = run_layer
        if compile:
            # Variants: with and without gradient, lead, and a line or token alone.
            limit = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(limit, _VARIANTS)
            self._layer = torch.compile(run_layer)
        self._is_compiled = compile

    @property
    def has_packed_weights(self) -> bool:
        """Whether weights are there in oneDNN's layouts."""
        return any(weights.qkv.packed is not None for weights in self._weights)

    def forward(self, hidden: Tensor, lines: Lines) -> Tensor:
        """Hidden states at the targets, (N, K, D), from embedded lines (B, L, D)."""
        mask, lead = lines.mask(hidden.dtype), lines.lead
        past: list[Past] = [None] * len(self._weights)
        if lead:
            with torch.no_grad():
                past = self._keys_and_values(
                    hidden[:, :lead].contiguous(),
                    mask[:, :, :lead, :lead].contiguous(),
                    lines.positions[:, :lead],
                )
        x, mask = hidden[:, lead:].contiguous(), mask[:, :, lead:].contiguous()
        rotation = self._rotation(x, lines.positions[:, lead:])
        for weights, before in zip(self._weights[:-1], past[:-1], strict=True):
            x = self._run(x, mask, rotation, weights, before)[0]
        last, before = self._weights[-1], past[-1]
        if not self.last_at_targets:
            x = self._run(x, mask, rotation, last, before)[0].flatten(0, 1)
            return self._norm[0](x[lines.targets])
        columns, places = _by_line(lines.targets, x.shape[1], len(x))
        x = _run_last_layer(x, columns, mask, rotation, last, self.shape, before).flatten(0, 1)
        return self._norm[0](x[places])

    def _keys_and_values(self, x: Tensor, mask: Tensor, positions: Tensor) -> list[Past]:
        rotation = self._rotation(x, positions)
        past: list[Past] = []
        for weights in self._weights:
            x, keys, values = self._run(x, mask, rotation, weights, None)
            past.append((keys, values))
        return past

    def _run(
        self, x: Tensor, mask: Tensor, rotation: Tensor, weights: Weights, past: Past
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self._is_compiled:
            for tensor, dims in ((x, (0, 1)), (mask, (0, 2, 3)), (rotation, (1, 2))):
                for dim in dims:
                    torch._dynamo.maybe_mark_dynamic(tensor, dim)
        return self._layer(x, mask, rotation, weights, self.shape, past)

    def _rotation(self, x: Tensor, positions: Tensor) -> Tensor:
        """Cosines and sines, (2, B, L, W)."""
        return torch.stack(self._rotary[0](x, positions))


def _merge(layer: nn.Module, pack_weights: bool) -> Weights:
    attention, feed_forward = layer.self_attn, layer.mlp

    def projection(*modules: nn.Linear) -> Projection:
        weight = _behind_one_another([module.weight for module in modules])
        bias = None
        if modules[0].bias is not None:
            bias = _behind_one_another([module.bias for module in modules])
        packed = pack_weight(weight) if pack_weights and can_pack(weight) else None
        return Projection(weight, bias, packed)

    return Weights(
        layer.input_layernorm.weight,
        projection(attention.q_proj, attention.k_proj, attention.v_proj),
        projection(attention.o_proj),
        layer.post_attention_layernorm.weight,
        projection(feed_forward.gate_proj, feed_forward.up_proj),
        projection(feed_forward.down_proj),
    )


def _behind_one_another(parts: list[nn.Parameter]) -> Tensor:
    """One tensor of which the parameters become views."""
    if len(parts) == 1:
        return parts[0].data
    merged = torch.cat([part.data for part in parts])
    for part, view in zip(parts, merged.split([len(part) for part in parts]), strict=True):
        part.data = view
    return merged


def run_layer(
    x: Tensor, mask: Tensor, rotation: Tensor, weights: Weights, shape: Shape, past: Past
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer.

    Args:
        x: (B, L, D).
        mask: (B, 1, L, E).
        rotation: (2, B, L, W).
        past: keys and values (B, E - L, C, W) of tokens before these.

    Returns:
        hidden states (B, L, D), keys and values (B, L, C, W).
    """
    heads, kv_heads = shape.heads, shape.kv_heads
    normed = rms_norm(x, weights.input_norm, shape.epsilon)
    mixed = weights.qkv(normed).unflatten(-1, (-1, shape.head_size))
    turned = _rotate(mixed[:, :, : heads + kv_heads], rotation)
    queries, keys = turned[:, :, :heads], turned[:, :, heads:]
    values = mixed[:, :, heads + kv_heads :]
    x = _finish(x, _attend(queries, keys, values, mask, shape, past), weights, shape)
    return x, keys, values


def _run_last_layer(
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
    mixed = _attend(queries, keys, others[:, :, kv_heads:], seen, shape, past)
    return _finish(x[lines, columns], mixed, weights, shape)


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, shape: Shape, past: Past
) -> Tensor:
    """(B, L, A * W) from queries (B, L, A, W), keys and values (B, L, C, W)."""
    if past is not None:
        keys, values = torch.cat([past[0], keys], dim=1), torch.cat([past[1], values], dim=1)
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)
    scale = 1 / math.sqrt(shape.head_size)
    if shape.fused_attention:
        mixed = F.scaled_dot_product_attention(
            queries.transpose(1, 2), keys, values, mask, scale=scale, enable_gqa=True
        )
        return mixed.transpose(1, 2).flatten(2)
    # Queries of heads that share keys lie behind one another, so that keys are not repeated.
    length = queries.shape[1]
    grouped = queries.unflatten(2, (shape.kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    scores = (grouped @ keys.transpose(-1, -2)).unflatten(2, (-1, length)) * scale
    scores = scores + mask.unsqueeze(2)
    shares = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
    mixed = (shares.flatten(2, 3) @ values).unflatten(2, (-1, length))
    return mixed.permute(0, 3, 1, 2, 4).flatten(2)


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


def _by_line(targets: Tensor, length: int, num_lines: int) -> tuple[Tensor, Tensor]:
    """Targets as columns of their lines.

    Returns:
        columns (B, F), filled up with 0, and where in the flattened (B, F) each target (N, K) is.
    """
    flat = targets.flatten()
    line = flat // length
    order = line.argsort(stable=True)
    counts = torch.bincount(line, minlength=num_lines)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(flat)
    rank[order] = torch.arange(len(flat), device=flat.device) - starts[line[order]]
    most = int(counts.max())
    columns = torch.zeros(num_lines, most, dtype=torch.int64, device=flat.device)
    columns[line, rank] = flat % length
    return columns, (line * most + rank).view_as(targets)
