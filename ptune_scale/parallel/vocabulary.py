"""What is asked of logits, whether a rank holds all of the vocabulary or a shard of it.

With tensor parallelism the head's rows, and with them the logits, are spread over ranks. The logits
are never gathered: losses, ranks of answers and the likeliest tokens come from small reductions.

Shapes: N rows, K targets in a row, V vocabulary, W its part on this rank, C sets of candidates.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from ptune_scale.parallel.chunked_cross_entropy import cross_entropy
from ptune_scale.task.candidates import Candidates


class WholeVocabulary:
    """All logits are on this rank.

    Args:
        chunked_loss: see ``chunked_cross_entropy``.
    """

    start = 0

    def __init__(self, *, chunked_loss: bool = True) -> None:
        self.chunked_loss = chunked_loss

    def cross_entropy(self, logits: Tensor, answers: Tensor) -> Tensor:
        return cross_entropy(logits, answers, chunked=self.chunked_loss)

    def ranks(
        self, logits: Tensor, answers: Tensor, tasks: Tensor, candidates: Candidates
    ) -> Tensor:
        gold = logits.gather(2, answers.clamp(min=0).unsqueeze(-1))
        better = candidates.count_better(logits, gold, answers, tasks)
        return candidates.ranks(better, answers, tasks)

    def top(self, logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
        best = logits.float().softmax(-1).topk(k)
        return best.values, best.indices

    def pick(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.gather(-1, tokens).float()

    def normalizer(self, logits: Tensor) -> Tensor:
        return logits.float().logsumexp(-1, keepdim=True)


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

    def cross_entropy(self, logits: Tensor, answers: Tensor) -> Tensor:
        from fairscale.nn.model_parallel.cross_entropy import vocab_parallel_cross_entropy

        # It works in place on what it is given.
        return vocab_parallel_cross_entropy(self.hide_padding(logits).clone(), answers)

    def ranks(
        self, logits: Tensor, answers: Tensor, tasks: Tensor, candidates: Candidates
    ) -> Tensor:
        logits = self.hide_padding(logits)
        gold = self._local(logits, answers.unsqueeze(-1), float("-inf"))
        dist.all_reduce(gold, op=dist.ReduceOp.MAX, group=self.group)
        better = candidates.count_better(logits, gold, answers, tasks, self.start)
        dist.all_reduce(better, group=self.group)
        return candidates.ranks(better, answers, tasks)

    def top(self, logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
        logits = self.hide_padding(logits)
        mine = logits.topk(min(k, self.width))
        values, tokens = self._gather(mine.values), self._gather(mine.indices + self.start)
        normalizer = self._gather(logits.logsumexp(-1, keepdim=True)).logsumexp(-1, keepdim=True)
        best = values.topk(k)
        return (best.values - normalizer).exp(), tokens.gather(-1, best.indices)

    def pick(self, logits: Tensor, tokens: Tensor) -> Tensor:
        from fairscale.nn.model_parallel.mappings import reduce_from_model_parallel_region

        return reduce_from_model_parallel_region(
            self._local(self.hide_padding(logits), tokens, 0.0)
        )

    def normalizer(self, logits: Tensor) -> Tensor:
        from fairscale.nn.model_parallel.mappings import reduce_from_model_parallel_region

        logits = self.hide_padding(logits)
        largest = logits.detach().amax(-1, keepdim=True)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self.group)
        total = (logits - largest).exp().sum(-1, keepdim=True)
        return reduce_from_model_parallel_region(total).log() + largest

    def _local(self, logits: Tensor, tokens: Tensor, other: float) -> Tensor:
        """Logits (..., C) of tokens (..., C) that this rank holds, another value for the rest."""
        here = (tokens >= self.start) & (tokens < self.start + self.width)
        return torch.where(here, logits.gather(-1, (tokens - self.start).where(here, 0)), other)

    def _gather(self, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, tensor.contiguous(), group=self.group)
        return torch.cat(parts, dim=-1)
