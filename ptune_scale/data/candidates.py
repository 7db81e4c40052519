"""Sets of candidate answers: what a prediction is ranked among."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Candidates:
    """Named sets of tokens; one set is either common to all relations or differs by relation.

    Args:
        vocab_size: number V of logits.
        common: name -> token ids, or None for the whole vocabulary.
        by_relation: name -> token ids of each relation, in the job's order.
        first: the set that comes first in ``names``, the one that is reported.
    """

    def __init__(
        self,
        vocab_size: int,
        common: Mapping[str, list[int] | None],
        by_relation: Mapping[str, list[list[int]]] | None = None,
        *,
        first: str | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self._masks: dict[str, Tensor] = {}
        for name, tokens in common.items():
            self._masks[name] = self._mask(tokens)[None]
        for name, lists in (by_relation or {}).items():
            self._masks[name] = torch.stack([self._mask(tokens) for tokens in lists])
        if first is not None:
            self._masks = {first: self._masks[first], **self._masks}

    def _mask(self, tokens: list[int] | None) -> Tensor:
        if tokens is None:
            return torch.ones(self.vocab_size, dtype=torch.bool)
        mask = torch.zeros(self.vocab_size, dtype=torch.bool)
        mask[tokens] = True
        return mask

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._masks)

    def contains(self, name: str, relation: int, token: int) -> bool:
        mask = self._masks[name]
        return bool(mask[relation if len(mask) > 1 else 0, token])

    def ranks(self, logits: Tensor, labels: Tensor, relations: Tensor) -> Tensor:
        """Rank of each label in each set.

        Equal to its place in the sorted list of candidates; a tie counts for the lower token id,
        as in a stable sort.

        Args:
            logits: (N, K, V).
            labels, relations: (N,) int64.

        Returns:
            (N, K, C) int64, 1 is best; V + 1 where the label is not in the set.
        """
        index = labels[:, None, None].expand(-1, logits.shape[1], 1)
        gold = logits.gather(2, index)
        earlier = torch.arange(logits.shape[2], device=logits.device) < index
        better = (logits > gold) | ((logits == gold) & earlier)
        columns = []
        for mask in self._masks.values():
            mask = mask.to(logits.device)
            rows = mask[relations] if len(mask) > 1 else mask.expand(len(labels), -1)
            rank = 1 + (better & rows[:, None]).sum(-1)
            inside = rows.gather(1, labels[:, None])
            columns.append(torch.where(inside, rank, logits.shape[2] + 1))
        return torch.stack(columns, dim=-1)
