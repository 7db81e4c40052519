"""What is minimized: losses of rows, read off their logits at the targets.

Shapes: N rows, K targets in a row, V vocabulary, W a rank's part of it, C sets of candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import Batch


class Vocabulary(Protocol):
    """Questions about logits (..., W) of which this rank holds tokens ``start`` and up."""

    start: int

    def cross_entropy(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Loss of each row, (N,) in fp32, from logits (N, W) and answers (N,); differentiable."""
        ...

    def ranks(
        self, logits: Tensor, answers: Tensor, tasks: Tensor, candidates: Candidates
    ) -> Tensor:
        """Rank of each target's answer in each set, (N, K, C) int64, from logits (N, K, W).

        Args:
            answers: (N, K) int64, NO_ANSWER where none is expected; the rank is V + 1 there.
        """
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


Objective = Callable[[Vocabulary, Tensor, Batch], Tensor]
"""Loss of each row, (N,) in nats, from logits (N, K, W) that a vocabulary knows how to read.

The library's own are functions of modules and dataclasses, so that another process can be told
which one is meant; see ``parallel.remote.asked``.
"""


def cross_entropy(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of each row's answer at its first target, (N,) in nats."""
    # A view of one target's logits gives them their gradient without a copy.
    first = logits.squeeze(1) if logits.shape[1] == 1 else logits[:, 0]
    return vocabulary.cross_entropy(first, batch.answers[:, 0])


def mean_cross_entropy(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy of the answers at each row's targets, (N,) in nats."""
    return -log_likelihoods(vocabulary, logits, batch) / batch.answered.sum(-1).clamp(min=1)


@dataclass(frozen=True)
class WeightedCrossEntropy:
    """Weighted mean of the cross-entropies of a row's answers, (N,) in nats.

    Attributes:
        first_weight: what the first answer counts, where others count 1.
    """

    first_weight: float

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        shares = token_shares(batch.answered, self.first_weight)
        return -(log_probabilities(vocabulary, logits, batch) * shares).sum(-1)


def token_shares(answered: Tensor, first_weight: float) -> Tensor:
    """What each token counts in its row's loss, (N, K) fp32; those of a row add up to one.

    Args:
        answered: (N, K) bool, whether a token is expected there; always at the first place.

    Example:
        >>> token_shares(torch.tensor([[True, True, False]]), 3.0)
        tensor([[0.7500, 0.2500, 0.0000]])
    """
    weights = answered.float()
    weights[:, 0] *= first_weight
    return weights / weights.sum(-1, keepdim=True)


def log_likelihoods(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Sum of the log-probabilities of each row's answers, (N,) in nats."""
    return (log_probabilities(vocabulary, logits, batch) * batch.answered).sum(-1)


def log_probabilities(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Log-probability of the answer at each target, (N, K) in nats; of any token where none is."""
    picked = vocabulary.pick(logits, batch.answers.unsqueeze(-1))
    return (picked - vocabulary.normalizer(logits)).squeeze(-1)
