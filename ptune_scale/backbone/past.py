"""Keys and values of tokens that a model has seen, for a next call to go on behind them.

Shapes: N rows, T tokens of a call, E tokens of this call and those before it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ptune_scale.task.example import Padded


def padding_mask(padded: Padded) -> Tensor:
    """(N, T) int64, 1 at tokens and 0 at padding."""
    positions = torch.arange(padded.ids.shape[1], device=padded.ids.device)
    return (positions < padded.lengths[:, None]).long()


class Past:
    """What a causal model keeps of N rows from call to call; empty at first.

    Rows of a first call may be padded on the right if the model takes positions and a mask as they
    are given (see ``families.can_pack``): the next tokens of a short row then lie behind its
    padding, at the positions that follow on its own tokens.
    """

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self._cache = DynamicCache()
        self._mask = torch.zeros(num_rows, 0, dtype=torch.int64, device=device)
        self._lengths = torch.zeros(num_rows, dtype=torch.int64, device=device)
        self._is_padded = False

    def extended_by(self, padded: Padded) -> dict[str, Any]:
        """What to give a model beside the embeddings of the next tokens, (N, T)."""
        mask, first = padding_mask(padded), self._lengths
        self._mask = torch.cat([self._mask, mask], dim=1)
        self._lengths = first + padded.lengths
        self._is_padded |= padded.is_padded
        extras: dict[str, Any] = {"use_cache": True, "past_key_values": self._cache}
        if self._is_padded:
            counted = torch.arange(mask.shape[1], device=mask.device)
            extras |= {"attention_mask": self._mask, "position_ids": first[:, None] + counted}
        return extras

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all other rows; those that stay are numbered anew."""
        index = torch.tensor(rows, device=self._lengths.device)
        self._cache.batch_select_indices(index)
        self._mask, self._lengths = self._mask[index], self._lengths[index]
