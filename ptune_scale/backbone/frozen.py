"""The frozen forward pass: input ids and prompts in, logits at the targets out.

Shapes: N rows, T tokens, K targets in a row, V vocabulary, H embedding size, R tasks, S slots;
B lines of L tokens into which rows are packed.
"""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ptune_scale.backbone.families import can_go_on, can_pack
from ptune_scale.backbone.lines import Lines, pack, pack_rounded
from ptune_scale.backbone.network import body_of
from ptune_scale.backbone.past import Past, padding_mask
from ptune_scale.backbone.prepared import PreparedLayers, can_prepare
from ptune_scale.backbone.shortcuts import DEFAULT, Shortcuts
from ptune_scale.backbone.splicing_embedding import SplicingEmbedding, replace_embedding
from ptune_scale.backbone.text_cache import (
    Behind,
    LayerPast,
    TextCache,
    Tokens,
    is_mostly_text,
    text_of,
)
from ptune_scale.splice import splice
from ptune_scale.task.example import Batch, Padded


class FrozenLM(nn.Module):
    """A Hugging Face causal or masked model, or one pipeline stage of it, in which nothing trains.

    The head runs at target positions only. To serve every architecture with its own head (bias,
    transform, soft-capping ...) unchanged, a hook between the model's body and its head replaces
    the hidden states (N, T, H) by those at the targets (N, K, H).

    Args:
        model: a model with a head; for a stage, one whose other layers were taken out.
        is_first: this stage embeds ids and splices prompts; otherwise it is given hidden states.
        is_last: this stage has the head; otherwise it returns hidden states.
        shortcuts: what need not be computed, where model and stage allow for it.
        dropout: in passes with a gradient, run the model's own dropout. Rows are not packed then:
            what they share would get the same noise in all of them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        is_first: bool = True,
        is_last: bool = True,
        shortcuts: Shortcuts = DEFAULT,
        dropout: bool = False,
    ) -> None:
        super().__init__()
        if dropout:
            shortcuts = replace(shortcuts, packing=False)
        self.model = model.eval().requires_grad_(False)
        self.is_causal = is_causal(model)
        self.is_first = is_first
        self.is_last = is_last
        self.shortcuts = shortcuts
        self.dropout = dropout
        if is_first and shortcuts.fused_splice:
            replace_embedding(model)
        self.prepared: PreparedLayers | None = None
        self.texts: TextCache | None = None
        self._layer_numbers: list[int] = []
        self._targets: Tensor | None = None
        body_of(model).register_forward_hook(self._keep_targets)

    def train(self, mode: bool = True) -> "FrozenLM":
        """Stay in eval mode: what dropout there is, is switched on by each pass."""
        return super().train(False)

    def prepare(self) -> "FrozenLM":
        """Run layers by ``prepared`` from now on, if the shortcuts say so and the family allows it.

        For models whose weights are whole and stay where they are.
        """
        asked = self.shortcuts
        if asked.packing and asked.prepared_layers and can_prepare(self.model):
            self.prepared = PreparedLayers(
                self.model,
                compile=asked.compiled_layers,
                pack_weights=asked.packed_weights,
                last_at_targets=asked.last_layer_at_targets,
                graphs=asked.cuda_graphs and asked.head_at_targets,
            )
        return self

    @property
    def has_cache(self) -> bool:
        """Whether a pass may go on behind the keys and values of passes before it."""
        parameters = inspect.signature(self.model.forward).parameters
        return (
            self.is_causal
            and self.is_first
            and self.is_last
            and can_go_on(self.model.config)
            and "past_key_values" in parameters
            and not self.model._is_stateful
        )

    def _keep_targets(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self._targets is None or not self.shortcuts.head_at_targets:
            return output
        hidden = output[0].flatten(0, 1)
        output["last_hidden_state"] = hidden[self._targets]
        return output

    def forward(
        self,
        batch: Batch,
        prompts: Tensor | None = None,
        hidden: Tensor | None = None,
        *,
        padded: Padded | None = None,
        past: Past | None = None,
        behind: Behind | None = None,
    ) -> Tensor:
        """From ids (or, on a later stage, hidden states) to logits (or hidden states).

        Args:
            prompts: (R, S, H) the prompt matrix P, on the first stage; gradients reach it alone.
            hidden: (N, T, H) what the stage before returned, on any other.
            padded: the batch's tokens, where they are to be padded in a way of their own.
            past: keys and values of the tokens before those of the batch, which it is added to.
            behind: the batch behind its texts, as lines, which take the place of padded rows.

        Returns:
            logits (N, K, V) from the last stage, hidden states (N, T, H) from others.
        """
        if self.dropout:
            self.model.train(torch.is_grad_enabled())
        if behind is not None:
            return self._forward_behind(behind, prompts, hidden)
        if hidden is None and padded is None and past is None and self._packs(batch):
            assert prompts is not None
            return self._forward_lines(batch, prompts)
        padded = padded or batch.padded()
        if hidden is None:
            assert prompts is not None
            hidden = self._embed(padded.ids, prompts, batch.tasks, padded.slots)
        extras = self._extras(padded) if past is None else past.extended_by(padded)
        if not self.is_last:
            return self.model.base_model(inputs_embeds=hidden, **extras)[0]
        starts = torch.arange(len(batch), device=hidden.device) * hidden.shape[1]
        return self._logits(batch.targets + starts.unsqueeze(1), inputs_embeds=hidden, **extras)

    def _packs(self, batch: Batch) -> bool:
        if not (self.is_first and self.is_last and self.shortcuts.packing):
            return False
        return can_pack(self.model.config, max(len(row.ids) for row in batch.examples))

    def _embed(self, ids: Tensor, prompts: Tensor, tasks: Tensor, slots: Tensor) -> Tensor:
        embedding = self.model.get_input_embeddings()
        if self.shortcuts.fused_splice and isinstance(embedding, SplicingEmbedding):
            return embedding(ids, prompts, tasks, slots)
        with torch.no_grad():
            words = embedding(ids)
        return splice(words, prompts, tasks, slots)

    def _forward_lines(self, batch: Batch, prompts: Tensor) -> Tensor:
        """Logits (N, K, V) by way of lines."""
        skips = self.shortcuts.skip_lead and torch.is_grad_enabled()
        skips = skips and can_go_on(self.model.config)
        lines = pack_rounded(batch, prompts.shape[1], self.replays)
        lines = lines or pack(batch, prompts.shape[1], skip_lead=skips)
        hidden = self._embed_lines(lines, prompts)
        if self.prepared is not None:
            return self._from_prepared(hidden, lines)
        return self._forward_layers(hidden, lines)

    def replays(self, num_tokens: int) -> bool:
        """Whether a pass over lines of so many tokens is one CUDA graph, and wants them rounded."""
        return self.prepared is not None and self.prepared.replays(num_tokens)

    def _embed_lines(self, lines: Lines, prompts: Tensor) -> Tensor:
        cells = prompts.reshape(1, -1, prompts.shape[2])
        first = torch.zeros(len(lines.ids), dtype=torch.int64, device=lines.ids.device)
        return self._embed(lines.ids, cells, first, lines.cells)

    def _from_prepared(
        self, hidden: Tensor, lines: Lines, before: Sequence[LayerPast] = ()
    ) -> Tensor:
        assert self.prepared is not None
        everywhere = not self.shortcuts.head_at_targets
        hidden = self.prepared(hidden, lines, before, everywhere=everywhere)
        logits = self.model.get_output_embeddings()(hidden)
        return logits.flatten(0, 1)[lines.targets] if everywhere else logits

    def _forward_layers(self, hidden: Tensor, lines: Lines) -> Tensor:
        mask, lead = lines.mask(hidden.dtype), lines.lead
        extras: dict[str, Any] = {"use_cache": False}
        if lead:
            extras = {"use_cache": True, "past_key_values": DynamicCache()}
            with torch.no_grad():
                self.model.base_model(
                    inputs_embeds=hidden[:, :lead],
                    attention_mask=mask[:, :, :lead, :lead],
                    position_ids=lines.positions[:, :lead],
                    **extras,
                )
        return self._logits(
            lines.targets,
            inputs_embeds=hidden[:, lead:],
            attention_mask=mask[:, :, lead:],
            position_ids=lines.positions[:, lead:],
            **extras,
        )

    def can_keep_texts(self, length: int = 0) -> bool:
        """Whether what stands before the slots of rows so long may be computed once, by itself."""
        config = self.model.config
        goes_on = can_pack(config, length) and can_go_on(config)
        return self.is_causal and self.shortcuts.packing and goes_on

    def texts_of(self, batch: Batch) -> list[Tokens] | None:
        """What of a batch's rows is to be kept; None where there is little text, or no cache."""
        longest = max(row.num_tokens for row in batch.examples)
        if self.texts is None or not self.can_keep_texts(longest):
            return None
        return list(map(text_of, batch.examples)) if is_mostly_text(batch.examples) else None

    def _forward_behind(
        self, behind: Behind, prompts: Tensor | None, hidden: Tensor | None = None
    ) -> Tensor:
        """Lines behind what is known of them; the texts that they complete are kept."""
        lines, before, missing = behind
        if hidden is None:
            assert prompts is not None
            hidden = self._embed_lines(lines, prompts)
        if self.prepared is not None:
            if not missing:
                return self._from_prepared(hidden, lines, before)
            assert self.texts is not None
            self.texts.put(missing, self.prepared.keys_and_values(hidden, lines, before))
            return hidden
        cache = self._cache_of(before)
        extras = {
            "inputs_embeds": hidden,
            "attention_mask": lines.mask(hidden.dtype),
            "position_ids": lines.positions,
            "use_cache": True,
            "past_key_values": cache,
        }
        if self.is_last and not missing:
            return self._logits(lines.targets, **extras)
        hidden = self.model.base_model(**extras)[0]
        if missing:
            assert self.texts is not None
            known = before[0][0].shape[2] if before else 0
            # A stage's layers have the numbers that they have in the whole model.
            filled = {n: layer for n, layer in enumerate(cache.layers) if layer.is_initialized}
            self._layer_numbers = list(filled)
            computed = [(x.keys, x.values) for x in filled.values()]
            self.texts.put(missing, [(k[:, :, known:], v[:, :, known:]) for k, v in computed])
        return hidden

    def _cache_of(self, before: Sequence[LayerPast]) -> DynamicCache:
        """Keys and values of the layers here, as the library wants them."""
        cache = DynamicCache()
        for number, (keys, values) in zip(self._layer_numbers, before, strict=bool(before)):
            cache.update(keys, values, number)
        return cache

    def _logits(self, targets: Tensor, **inputs: Any) -> Tensor:
        """Logits (N, K, V) at targets (N, K), places in the flattened tokens."""
        self._targets = targets
        try:
            logits = self.model(**inputs).logits
        finally:
            self._targets = None
        return logits if self.shortcuts.head_at_targets else logits.flatten(0, 1)[targets]

    def _extras(self, padded: Padded) -> dict[str, Any]:
        """A causal model needs no mask for padding on the right: nothing before a target sees it.

        A masked model gets one if there is padding.
        """
        extras: dict[str, Any] = {}
        if hasattr(self.model.config, "use_cache"):
            extras["use_cache"] = False
        if not self.is_causal and padded.is_padded:
            extras["attention_mask"] = padding_mask(padded)
        return extras


def is_causal(model: PreTrainedModel) -> bool:
    """Whether the model predicts the next token (as opposed to masked tokens)."""
    # XLM and FlauBERT have one class for both.
    is_either = type(model).__name__.endswith("WithLMHeadModel")
    return model.config.causal if is_either else "MaskedLM" not in type(model).__name__
