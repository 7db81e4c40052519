"""What is asked of logits, whether a rank holds all of the vocabulary or a shard of it.

With tensor parallelism the head's rows, and with them the logits, are spread over ranks. The logits
are never gathered: losses, ranks of answers and the likeliest tokens come from small reductions.

Shapes: N rows, K targets in a row, V vocabulary, W its part on this rank, C sets of candidates.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ptune_scale.data.candidates import Candidates
from ptune_scale.parallel.loss import cross_entropy


class Vocabulary(Protocol):
    """Questions about logits (..., W) of which this rank holds tokens ``start`` and up."""

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each row, (N,) in fp32, from logits (N, W); differentiable."""
        ...

    def ranks(
        self, logits: Tensor, labels: Tensor, relations: Tensor, candidates: Candidates
    ) -> Tensor:
        """Rank of each row's label in each set, (N, K, C) int64, from logits (N, K, W)."""
        ...

    def top(self, logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Probabilities and ids of the k likeliest tokens, (..., k) each, from logits (..., W)."""
        ...

    def pick(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Logits of some tokens (..., C), in fp32, from logits (..., W); differentiable."""
        ...

    def normalizer(self, logits: Tensor) -> Tensor:
        """Log of the sum of exponentials, (..., 1) in fp32, from logits (..., W); differentiable.

        ``pick`` less this is a log-probability over the whole vocabulary, in nats.
        """
        ...


class WholeVocabulary:
    """All logits are on this rank.

    Args:
        chunked_loss: see ``loss.cross_entropy``.
    """

    def __init__(self, *, chunked_loss: bool = True) -> None:
        self.chunked_loss = chunked_loss

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, chunked=self.chunked_loss)

    def ranks(
        self, logits: Tensor, labels: Tensor, relations: Tensor, candidates: Candidates
    ) -> Tensor:
        index = labels[:, None, None].expand(-1, logits.shape[1], 1)
        better = candidates.count_better(logits, logits.gather(2, index), labels, relations)
        return candidates.ranks(better, labels, relations)

    def top(self, logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
        best = logits.float().softmax(-1).topk(k)
        return best.values, best.indices

    def pick(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.gather(-1, tokens).float()

    def normalizer(self, logits: Tensor) -> Tensor:
        return logits.float().logsumexp(-1, keepdim=True)


class NarrowLoss(WholeVocabulary):
    """All logits are on this rank, but for the loss, which is over some words alone.

    Args:
        words: C token ids in ascending order, all labels among them; the loss is asked of logits
            (N, C) of these.
        chunked_loss: see ``loss.cross_entropy``.
    """

    def __init__(self, words: Sequence[int], *, chunked_loss: bool = True) -> None:
        super().__init__(chunked_loss=chunked_loss)
        self.words = torch.tensor(words)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        places = torch.searchsorted(self.words.to(labels.device), labels)
        return super().cross_entropy(logits, places)


class ShardedVocabulary:
    """This rank holds the logits of tokens ``[rank * width, (rank + 1) * width)``.

    The last shard may reach beyond the vocabulary; its logits there are minus infinity.

    Args:
        vocab_size: V.
        width: W, the same on all ranks.
        rank: this rank's place in ``group``.
        group: the tensor-parallel ranks.
    """

    def __init__(self, vocab_size: int, width: int, rank: int, group: dist.ProcessGroup) -> None:
        self.vocab_size = vocab_size
        self.width = width
        self.start = rank * width
        self.group = group

    def hide_padding(self, logits: Tensor) -> Tensor:
        """Logits in fp32, with minus infinity for tokens that do not exist."""
        logits = logits.float()
        real = min(self.width, max(0, self.vocab_size - self.start))
        if real == self.width:
            return logits
        beyond = torch.arange(self.width, device=logits.device) >= real
        return logits.masked_fill(beyond, float("-inf"))

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        from fairscale.nn.model_parallel.cross_entropy import vocab_parallel_cross_entropy

        # It works in place on what it is given.
        return vocab_parallel_cross_entropy(self.hide_padding(logits).clone(), labels)

    def ranks(
        self, logits: Tensor, labels: Tensor, relations: Tensor, candidates: Candidates
    ) -> Tensor:
        logits = self.hide_padding(logits)
        here = (labels >= self.start) & (labels < self.start + self.width)
        index = torch.where(here, labels - self.start, 0)[:, None, None]
        gold = logits.gather(2, index.expand(-1, logits.shape[1], 1))
        gold = torch.where(here[:, None, None], gold, float("-inf"))
        dist.all_reduce(gold, op=dist.ReduceOp.MAX, group=self.group)
        better = candidates.count_better(logits, gold, labels, relations, self.start)
        dist.all_reduce(better, group=self.group)
        return candidates.ranks(better, labels, relations)

    def top(self, logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
        logits = self.hide_padding(logits)
        mine = logits.topk(min(k, self.width))
        values, tokens = self._gather(mine.values), self._gather(mine.indices + self.start)
        normalizer = self._gather(logits.logsumexp(-1, keepdim=True)).logsumexp(-1, keepdim=True)
        best = values.topk(k)
        return (best.values - normalizer).exp(), tokens.gather(-1, best.indices)

    def pick(self, logits: Tensor, tokens: Tensor) -> Tensor:
        from fairscale.nn.model_parallel.mappings import reduce_from_model_parallel_region

        here = (tokens >= self.start) & (tokens < self.start + self.width)
        mine = self.hide_padding(logits).gather(-1, torch.where(here, tokens - self.start, 0))
        return reduce_from_model_parallel_region(torch.where(here, mine, 0.0))

    def normalizer(self, logits: Tensor) -> Tensor:
        from fairscale.nn.model_parallel.mappings import reduce_from_model_parallel_region

        logits = self.hide_padding(logits)
        largest = logits.detach().amax(-1, keepdim=True)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self.group)
        total = (logits - largest).exp().sum(-1, keepdim=True)
        return reduce_from_model_parallel_region(total).log() + largest

    def _gather(self, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, tensor.contiguous(), group=self.group)
        return torch.cat(parts, dim=-1)
