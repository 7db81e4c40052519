"""Sets of candidate answers: what a prediction is ranked among."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Candidates:
    """Named sets of tokens; one set is either common to all tasks or differs by task.

    Args:
        vocab_size: number V of logits.
        common: name -> token ids, or None for the whole vocabulary.
        by_task: name -> the same of each task, in the job's order.
        first: the set that comes first in ``names``, the one that is reported.
    """

    def __init__(
        self,
        vocab_size: int,
        common: Mapping[str, list[int] | None],
        by_task: Mapping[str, list[list[int] | None]] | None = None,
        *,
        first: str | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self._masks: dict[str, Tensor] = {}
        for name, tokens in common.items():
            self._masks[name] = self._mask(tokens)[None]
        for name, lists in (by_task or {}).items():
            self._masks[name] = torch.stack([self._mask(tokens) for tokens in lists])
        self._moved: dict[torch.device, list[Tensor]] = {}
        if first is not None:
            self._masks = {first: self._masks[first], **self._masks}

    @classmethod
    def from_masks(cls, vocab_size: int, masks: Mapping[str, Tensor]) -> "Candidates":
        """Sets that are given by name as (1, V) or (R, V) bool, see ``masks``."""
        made = cls(vocab_size, {})
        made._masks = dict(masks)
        return made

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """By name, which tokens are in a set: (1, V) bool, or (R, V) where tasks have their own."""
        return self._masks

    def of_tasks(self, tasks: Sequence[int]) -> "Candidates":
        """The sets of some tasks, which are numbered anew."""
        masks = {n: mask[list(tasks)] if len(mask) > 1 else mask for n, mask in self._masks.items()}
        return self.from_masks(self.vocab_size, masks)

    def _mask(self, tokens: list[int] | None) -> Tensor:
        if tokens is None:
            return torch.ones(self.vocab_size, dtype=torch.bool)
        mask = torch.zeros(self.vocab_size, dtype=torch.bool)
        mask[tokens] = True
        return mask

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._masks)

    def contains(self, name: str, task: int, token: int) -> bool:
        mask = self._masks[name]
        return bool(mask[task if len(mask) > 1 else 0, token])

    def tokens(self, name: str, task: int) -> Tensor:
        """Ids of a set's tokens in ascending order, (n,) int64."""
        mask = self._masks[name]
        return mask[task if len(mask) > 1 else 0].nonzero().squeeze(1)

    def only(self, name: str, logits: Tensor, tasks: Tensor, start: int = 0) -> Tensor:
        """Logits (N, W) of tokens ``start`` and up, minus infinity for those not in a set.

        Args:
            tasks: (N,) int64.
        """
        mask = self._masks[name].to(logits.device)
        allowed = torch.zeros(len(mask), logits.shape[1], dtype=torch.bool, device=logits.device)
        part = mask[:, start : start + logits.shape[1]]
        allowed[:, : part.shape[1]] = part
        rows = allowed[tasks] if len(mask) > 1 else allowed
        return logits.float().masked_fill(~rows, -torch.inf)

    def count_better(
        self, logits: Tensor, gold: Tensor, answers: Tensor, tasks: Tensor, start: int = 0
    ) -> Tensor:
        """How many tokens of each set stand before the answer in the sorted list.

        A tie counts for the lower token id, as in a stable sort. ``logits`` may be a part of the
        vocabulary; counts of all parts add up.

        Args:
            logits: (N, K, W), of tokens ``start`` and up; those beyond the vocabulary are -inf.
            gold: (N, K, 1), the answers' own logits.
            answers: (N, K) int64.
            tasks: (N,) int64.

        Returns:
            (N, K, C) int64.
        """
        tokens = torch.arange(start, start + logits.shape[2], device=logits.device)
        better = (logits > gold) | ((logits == gold) & (tokens < answers.unsqueeze(-1)))
        real = min(logits.shape[2], max(0, self.vocab_size - start))
        better = better[..., :real]
        columns = []
        for mask in self._masks_on(logits.device):
            part = mask[:, start : start + real]
            rows = part[tasks] if len(mask) > 1 else part
            columns.append((better & rows[:, None]).sum(-1))
        return torch.stack(columns, dim=-1)

    def ranks(self, better: Tensor, answers: Tensor, tasks: Tensor) -> Tensor:
        """Rank of each answer in each set, 1 is best; V + 1 where there is none or not in the set.

        Args:
            better: (N, K, C) from ``count_better``, over the whole vocabulary.
            answers: (N, K) int64, NO_ANSWER where none is expected.
            tasks: (N,) int64.
        """
        asked = answers.clamp(min=0)
        columns = []
        for place, mask in enumerate(self._masks_on(answers.device)):
            inside = mask[tasks[:, None], asked] if len(mask) > 1 else mask[0, asked]
            rank = 1 + better[..., place]
            columns.append(torch.where(inside & (answers >= 0), rank, self.vocab_size + 1))
        return torch.stack(columns, dim=-1)

    def _masks_on(self, device: torch.device) -> list[Tensor]:
        """The sets as masks, moved to a device once."""
        if device not in self._moved:
            self._moved[device] = [mask.to(device) for mask in self._masks.values()]
        return self._moved[device]
