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

    def tokens(self, name: str, relation: int) -> Tensor:
        """Ids of a set's tokens in ascending order, (n,) int64."""
        mask = self._masks[name]
        return mask[relation if len(mask) > 1 else 0].nonzero().squeeze(1)

    def count_better(
        self, logits: Tensor, gold: Tensor, labels: Tensor, relations: Tensor, start: int = 0
    ) -> Tensor:
        """How many tokens of each set stand before the label in the sorted list.

        A tie counts for the lower token id, as in a stable sort. ``logits`` may be a part of the
        vocabulary; counts of all parts add up.

        Args:
            logits: (N, K, W), of tokens ``start`` and up; those beyond the vocabulary are -inf.
            gold: (N, K, 1), the labels' own logits.
            labels, relations: (N,) int64.

        Returns:
            (N, K, C) int64.
        """
        tokens = torch.arange(start, start + logits.shape[2], device=logits.device)
        earlier = tokens < labels[:, None, None]
        better = (logits > gold) | ((logits == gold) & earlier)
        real = min(logits.shape[2], max(0, self.vocab_size - start))
        better = better[..., :real]
        columns = []
        for mask in self._masks.values():
            part = mask[:, start : start + real].to(logits.device)
            rows = part[relations] if len(mask) > 1 else part
            columns.append((better & rows[:, None]).sum(-1))
        return torch.stack(columns, dim=-1)

    def ranks(self, better: Tensor, labels: Tensor, relations: Tensor) -> Tensor:
        """Rank of each label in each set, 1 is best; V + 1 where the label is not in the set.

        Args:
            better: (N, K, C) from ``count_better``, over the whole vocabulary.
            labels, relations: (N,) int64.
        """
        columns = []
        for place, mask in enumerate(self._masks.values()):
            mask = mask.to(labels.device)
            inside = mask[relations, labels] if len(mask) > 1 else mask[0, labels]
            rank = 1 + better[..., place]
            columns.append(torch.where(inside[:, None], rank, self.vocab_size + 1))
        return torch.stack(columns, dim=-1)
