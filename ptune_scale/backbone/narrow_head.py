"""A head that computes the logits of some words alone."""

from collections.abc import Sequence
from types import TracebackType

import torch
from torch import nn
from transformers import PreTrainedModel


class NarrowHead:
    """Within its context, a model has the rows of some words in place of its whole head.

    Args:
        model: with a plain head (see ``families``) whose weights are whole and at hand.
        words: C token ids; logits (..., C) are in their order.
    """

    def __init__(self, model: PreTrainedModel, words: Sequence[int]) -> None:
        self._model = model
        self._whole = whole = model.get_output_embeddings()
        index = torch.tensor(words, device=whole.weight.device)
        self._narrow = nn.Linear(
            whole.in_features, len(index), bias=whole.bias is not None, device="meta"
        )
        for name, parameter in whole.named_parameters():
            part = nn.Parameter(parameter.detach()[index], requires_grad=False)
            setattr(self._narrow, name, part)

    def __enter__(self) -> None:
        self._model.set_output_embeddings(self._narrow)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._model.set_output_embeddings(self._whole)
