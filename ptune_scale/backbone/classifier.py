"""A backbone that trains under a new head, which tells labels apart instead of words.

As a language model is fine-tuned for classification (Devlin et al. 2019, section 4): one linear
layer on the last hidden state of one token. Nothing of the vocabulary's head is kept, a masked
model's transformation neither, so nothing is left that does not train.

Shapes: N rows, K targets in a row, H size of the last hidden state, C outputs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ptune_scale.backbone.tuned import TunedLM

_INITIAL_STD = 0.02


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
