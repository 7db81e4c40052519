"""Layers of the Llama family, arranged for a model whose weights never change.

Query, key and value projections are one matrix product, and so are gate and up; the last layer
works at the targets alone. The modules that the model was loaded with keep their weights, as views
of the merged ones, so that nothing is held twice.

Shapes: B lines, L tokens in a line, D hidden size, W size of a head, F targets in a line, N rows, K
targets in a row.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ptune_scale.backbone.cuda_graphs import CudaGraphs
from ptune_scale.backbone.families import family_of
from ptune_scale.backbone.lines import Lines
from ptune_scale.backbone.llama_layer import (
    Past,
    Projection,
    Shape,
    Weights,
    run_last_layer,
    run_layer,
)
from ptune_scale.backbone.packed_linear import can_pack, pack_weight

_VARIANTS = 32


def can_prepare(model: PreTrainedModel) -> bool:
    """Whether the layers compute what this file does, and their weights are whole and at hand."""
    layers = getattr(model.base_model, "layers", nn.ModuleList())
    config = model.config
    return (
        family_of(config).can_prepare
        and bool(len(layers))
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
        pack_weights: keep weights in oneDNN's formats too, where it is there for them.
        last_at_targets: the last layer computes keys and values of all tokens, the rest at targets.
        graphs: on a GPU, start short passes as CUDA graphs; needs ``last_at_targets``.

    Attributes:
        graphs: what starts them; None where nothing does.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        compile: bool = False,
        pack_weights: bool = False,
        last_at_targets: bool = True,
        graphs: bool = True,
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
        self.graphs: CudaGraphs | None = None
        if graphs and last_at_targets and model.device.type == "cuda":
            size = sum(parameter.numel() for parameter in base.layers.parameters())
            about = torch.cuda.get_device_properties(model.device)
            self.graphs = CudaGraphs(self.at_targets, size, about.multi_processor_count)

    @property
    def has_packed_weights(self) -> bool:
        """Whether weights are there in oneDNN's formats."""
        return any(weights.qkv.packed is not None for weights in self._weights)

    def replays(self, num_tokens: int) -> bool:
        """Whether a pass over lines of so many tokens, padding with them, is one CUDA graph."""
        return self.graphs is not None and self.graphs.is_short(num_tokens)

    def forward(
        self,
        hidden: Tensor,
        lines: Lines,
        before: Sequence[tuple[Tensor, Tensor]] = (),
        *,
        everywhere: bool = False,
    ) -> Tensor:
        """Hidden states from embedded lines (B, L, D).

        Args:
            before: of each layer, keys and values of the known tokens before the lines.
            everywhere: not at the targets alone.

        Returns:
            (N, K, D) at the targets, or (B, L - lead, D).
        """
        mask, lead = lines.mask(hidden.dtype), lines.lead
        past: Sequence[Past] = self._past(before)
        if lead:
            with torch.no_grad():
                past = self._through(
                    hidden[:, :lead].contiguous(),
                    mask[:, :, :lead, :lead].contiguous(),
                    lines.positions[:, :lead],
                    past,
                )
        x, mask = hidden[:, lead:].contiguous(), mask[:, :, lead:].contiguous()
        rotation = self._rotation(x, lines.positions[:, lead:])
        if everywhere or not self.last_at_targets:
            for weights, known in zip(self._weights, past, strict=True):
                x = self._run(x, mask, rotation, weights, known)[0]
            return self._norm[0](x if everywhere else x.flatten(0, 1)[lines.targets])
        if lines.rounded and self.graphs is not None:
            flat = itertools.chain.from_iterable(before)
            x = self.graphs(x, mask, rotation, lines.columns, *flat)
        else:
            x = self._run_to_targets(x, mask, rotation, lines.columns, past)
        return self._norm[0](x.flatten(0, 1)[lines.places])

    def at_targets(
        self, x: Tensor, mask: Tensor, rotation: Tensor, columns: Tensor, *past: Tensor
    ) -> Tensor:
        """Hidden states (B, F, D) at some columns (B, F), from tensors alone, as graphs take them.

        Args:
            past: keys and values of each layer, one behind the other.
        """
        pairs = list(zip(past[::2], past[1::2], strict=True))
        return self._run_to_targets(x, mask, rotation, columns, self._past(pairs))

    def _run_to_targets(
        self, x: Tensor, mask: Tensor, rotation: Tensor, columns: Tensor, past: Sequence[Past]
    ) -> Tensor:
        for number, weights in enumerate(self._weights[:-1]):
            x = self._run(x, mask, rotation, weights, past[number])[0]
        return run_last_layer(x, columns, mask, rotation, self._weights[-1], self.shape, past[-1])

    @torch.no_grad()
    def keys_and_values(
        self, hidden: Tensor, lines: Lines, before: Sequence[Past] = ()
    ) -> list[tuple[Tensor, Tensor]]:
        """Of each layer, keys and values (B, C, L, W) of embedded lines (B, L, D)."""
        mask = lines.mask(hidden.dtype)
        return self._through(hidden, mask, lines.positions, self._past(before))

    def _past(self, before: Sequence[Past]) -> Sequence[Past]:
        return before or [None] * len(self._weights)

    def _through(
        self, x: Tensor, mask: Tensor, positions: Tensor, past: Sequence[Past]
    ) -> list[tuple[Tensor, Tensor]]:
        rotation = self._rotation(x, positions)
        found = []
        for weights, known in zip(self._weights, past, strict=True):
            x, keys, values = self._run(x, mask, rotation, weights, known)
            found.append((keys, values))
        return found

    def _run(
        self, x: Tensor, mask: Tensor, rotation: Tensor, weights: Weights, past: Past
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self._is_compiled:
            for tensor, dims in ((x, (0, 1)), (mask, (0, 2, 3)), (rotation, (1, 2))):
                for dim in dims:
                    torch._dynamo.maybe_mark_dynamic(tensor, dim)
            for tensor in past or ():
                for dim in (0, 2):
                    torch._dynamo.maybe_mark_dynamic(tensor, dim)
        return self._layer(x, mask, rotation, weights, self.shape, past)

    def _rotation(self, x: Tensor, positions: Tensor) -> Tensor:
        """Cosines and sines, (2, B, L, W)."""
        return torch.stack(self._rotary[0](x, positions))


def _merge(layer: Any, pack_weights: bool) -> Weights:
    attention, feed_forward = layer.self_attn, layer.mlp

    def projection(*modules: Any) -> Projection:
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


def _behind_one_another(parts: Sequence[nn.Parameter]) -> Tensor:
    """One tensor of which the parameters become views."""
    if len(parts) == 1:
        return parts[0].data
    merged = torch.cat([part.data for part in parts])
    for part, view in zip(parts, merged.split([len(part) for part in parts]), strict=True):
        part.data = view
    return merged
