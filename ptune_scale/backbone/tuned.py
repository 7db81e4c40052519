"""The forward pass of ``frozen`` with weights that train.

What need not be computed rests on weights that never change, but for packing: prepared layers hold
copies of them, and what lies before the first prompt needs a backward pass now.

Shapes: N rows, T tokens, R relations, S slots, H embedding size.
"""

from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.splice import splice


class TunedLM(FrozenLM):
    """A Hugging Face causal or masked model with its head, all of whose parameters train.

    Args:
        model: the whole model.
        dropout: see ``FrozenLM``.
    """

    def __init__(self, model: PreTrainedModel, *, dropout: bool = False) -> None:
        shortcuts = replace(PLAIN, packing="on", head="targets")
        super().__init__(model, shortcuts=shortcuts, dropout=dropout)
        model.requires_grad_(True)

    def _embed(self, ids: Tensor, prompts: Tensor, relations: Tensor, slots: Tensor) -> Tensor:
        """Words and prompts both get their gradient; a word that a prompt stands over gets none."""
        words = self.model.get_input_embeddings()(ids)
        return splice(words, prompts, relations, slots)
