"""The fairseq Megatron language model in plain PyTorch, with fairseq's module names.

A pre-norm decoder: exact GELU, sinusoidal positions, embeddings scaled by sqrt(D), a head tied to
the embeddings. As in fairseq, GELU and softmax are computed in fp32 whatever the weights' dtype.

Shapes: N rows, T tokens, D hidden size, A attention heads (on this rank, if they are spread).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from ptune_scale.backbone.megatron.config import MegatronConfig


class SinusoidalPositions(nn.Module):
    """Scales embeddings by sqrt(D) and adds the position's row [all sines | all cosines].

    Without parameters or buffers: the few rows that an input needs are computed in fp32 when it
    comes, so that no cast of the model can round them and an empty model needs no repair.
    """

    def __init__(self, hidden_size: int, padding_idx: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.padding_idx = padding_idx

    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """(N, T, D) -> (N, T, D) in the same dtype.

        Args:
            attention_mask: (N, T), 0 at padding, which is not counted and gets a row of zeros.
            position_ids: (N, T) places of the tokens, in place of counting them.
        """
        # fairseq counts from the row behind padding_idx: the first token uses row 2.
        if position_ids is not None:
            table = self._rows(position_ids + 1 + self.padding_idx)
        else:
            if attention_mask is None:
                kept = torch.ones(1, inputs_embeds.shape[1], device=inputs_embeds.device).long()
            else:
                kept = (attention_mask != 0).long()
            table = self._rows(kept.cumsum(1) * kept + self.padding_idx) * kept.unsqueeze(-1)
        scaled = inputs_embeds.float() * math.sqrt(self.hidden_size)
        return (scaled + table).to(inputs_embeds.dtype)

    def _rows(self, rows: Tensor) -> Tensor:
        half = self.hidden_size // 2
        steps = torch.arange(half, dtype=torch.float32, device=rows.device)
        frequencies = torch.exp(steps * -(math.log(10000) / (half - 1)))
        angles = rows.float().unsqueeze(-1) * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class MegatronAttention(nn.Module):
    """Causal self-attention.

    The number of heads is read off the projections' output, so that a rank that holds a part of
    the columns computes its own heads.
    """

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.head_dim = size // config.num_attention_heads
        self.config = config
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.out_proj = nn.Linear(size, size)

    def forward(self, hidden: Tensor, visible: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D); ``visible`` (1 or N, 1, T, T) is true where a key may be seen."""
        # The scale goes on after the bias: in low precision another order rounds differently.
        query = self._heads(self.q_proj(hidden) * self.head_dim**-0.5)
        key, value = self._heads(self.k_proj(hidden)), self._heads(self.v_proj(hidden))
        if self.config._attn_implementation == "sdpa":
            mixed = F.scaled_dot_product_attention(query, key, value, visible, scale=1.0)
        else:
            scores = (query @ key.transpose(-1, -2)).float()
            # Not -inf: a row of padding that sees nothing must not become NaN.
            scores = scores.masked_fill(~visible, torch.finfo(torch.float32).min)
            mixed = scores.softmax(-1).to(value.dtype) @ value
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _heads(self, projected: Tensor) -> Tensor:
        """(N, T, A * head_dim) -> (N, A, T, head_dim)."""
        return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class MegatronLayer(nn.Module):
    """Attention and feed-forward, each behind its own norm and added to what came in.

    fairseq's name for the norm in front of the feed-forward part is ``final_layer_norm``.
    """

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = MegatronAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(size, eps)
        self.fc1 = nn.Linear(size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, size)
        self.final_layer_norm = nn.LayerNorm(size, eps)

    def forward(self, hidden: Tensor, visible: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D); ``visible`` as in the attention."""
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden), visible)
        inner = self.fc1(self.final_layer_norm(hidden))
        return hidden + self.fc2(F.gelu(inner.float()).to(inner.dtype))


class MegatronPreTrainedModel(PreTrainedModel):
    """What Hugging Face needs to know to make, load and save these models."""

    config_class = MegatronConfig
    base_model_prefix = "model"
    _no_split_modules = ["MegatronLayer"]
    _supports_sdpa = True


class MegatronModel(MegatronPreTrainedModel):
    """Embeddings, layers and the last norm.

    A pipeline stage is this model with a part of ``layers``; where it is not the first, identities
    stand for ``embed_tokens`` and ``embed_positions``, where not the last, for ``layer_norm``.
    """

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__(config)
        padding, size = config.pad_token_id, config.hidden_size
        assert padding is not None  # positions are counted from it
        self.embed_tokens = nn.Embedding(config.vocab_size, size, padding)
        self.embed_positions = SinusoidalPositions(size, padding)
        self.layers = nn.ModuleList(MegatronLayer(config) for _ in range(config.num_hidden_layers))
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutput:
        """Hidden states (N, T, D) behind the last norm.

        Args:
            input_ids: (N, T).
            attention_mask: (N, T), 0 at padding; not needed for padding on the right, which no
                token before it can see. Or (N, 1, T, T), 0 where a key may be seen, negative where
                not; positions are given then.
            inputs_embeds: (N, T, D) instead of ids, as ``embed_tokens`` gives them: they are
                scaled and positions added here, to prompt vectors as to words.
            position_ids: (N, T) places of tokens that do not simply follow one another.
            **_: other arguments of Hugging Face models (``use_cache`` ...) have no effect.

        Raises:
            ValueError: both or neither of ids and embeddings.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        length = inputs_embeds.shape[1]
        visible = torch.ones(1, 1, length, length, dtype=torch.bool, device=inputs_embeds.device)
        visible = visible.tril()
        placed = {} if position_ids is None else {"position_ids": position_ids}
        if attention_mask is not None and attention_mask.dim() == 4:
            visible = attention_mask >= 0
        elif attention_mask is not None:
            visible = visible & (attention_mask != 0)[:, None, None, :]
            placed["attention_mask"] = attention_mask
        hidden = self.embed_positions(inputs_embeds, **placed)
        for layer in self.layers:
            hidden = layer(hidden, visible)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))


class MegatronForCausalLM(MegatronPreTrainedModel):
    """The language model: a head without bias that shares the embeddings' weight."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _pp_plan = {"lm_head": (["hidden_states"], ["logits"])}

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__(config)
        self.model = MegatronModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Logits (N, T, V) of the next token; arguments as in ``MegatronModel.forward``."""
        hidden = self.model(input_ids, attention_mask, inputs_embeds, position_ids)
        hidden = hidden.last_hidden_state
        return CausalLMOutput(logits=self.lm_head(hidden))
