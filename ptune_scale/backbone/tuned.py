"""The forward pass of ``frozen`` with weights that train, also under a new head.

What need not be computed rests on weights that never change, but for packing: prepared layers hold
copies of them, and what lies before the first prompt needs a backward pass now.

A new head tells labels apart instead of words, as a language model is fine-tuned for classification
(Devlin et al. 2019, section 4): one linear layer on the last hidden state of one token. Nothing of
the vocabulary's head is kept, a masked model's transformation neither, so nothing is left that does
not train.

Shapes: N rows, T tokens, K targets in a row, R tasks, S slots, H embedding size, C outputs.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.splice import splice

_INITIAL_STD = 0.02


class TunedLM(FrozenLM):
    """A Hugging Face causal or masked model with its head, all of whose parameters train.

    Args:
        model: the whole model.
        dropout: see ``FrozenLM``.
    """

    def __init__(self, model: PreTrainedModel, *, dropout: bool = False) -> None:
        shortcuts = replace(PLAIN, packing=True, head_at_targets=True)
        super().__init__(model, shortcuts=shortcuts, dropout=dropout)
        model.requires_grad_(True)

    def _embed(self, ids: Tensor, prompts: Tensor, tasks: Tensor, slots: Tensor) -> Tensor:
        """Words and prompts both get their gradient; a word that a prompt stands over gets none."""
        words = self.model.get_input_embeddings()(ids)
        return splice(words, prompts, tasks, slots)


@dataclass(frozen=True)
class NewHead:
    """A linear layer.

    Attributes:
        outputs: C.
        seed: of its weights; its biases begin as 0.
    """

    outputs: int
    seed: int


class ClassifierLM(TunedLM):
    """The layers of a language model with a new head.

    Args:
        model: the whole model; its own head is dropped.
        dropout: see ``FrozenLM``.
    """

    def __init__(self, model: PreTrainedModel, head: NewHead, *, dropout: bool = False) -> None:
        super().__init__(model, dropout=dropout)
        self.model = model.base_model
        self.head = nn.Linear(self._hidden_size(), head.outputs)
        chance = torch.Generator().manual_seed(head.seed)
        std = getattr(model.config, "initializer_range", _INITIAL_STD)
        nn.init.normal_(self.head.weight, std=std, generator=chance)
        nn.init.zeros_(self.head.bias)
        self.head.to(model.dtype)

    @torch.no_grad()
    def _hidden_size(self) -> int:
        # Some families have hidden states of another size than their configuration's.
        words = self.model.get_input_embeddings()(torch.zeros(1, 1, dtype=torch.int64))
        return self.model(inputs_embeds=words).last_hidden_state.shape[-1]

    def _logits(self, targets: Tensor, **inputs: Any) -> Tensor:
        """Outputs (N, K, C) at targets (N, K), places in the flattened tokens."""
        self._targets = targets
        try:
            hidden = self.model(**inputs).last_hidden_state
        finally:
            self._targets = None
        return self.head(hidden)
