"""What is minimized: losses of rows, read off their logits at the targets.

Shapes: N rows, K targets in a row, W this rank's part of the vocabulary.
"""

from collections.abc import Callable

from torch import Tensor

from ptune_scale.parallel.vocabulary import Vocabulary
from ptune_scale.task.example import Batch

Objective = Callable[[Vocabulary, Tensor, Batch], Tensor]
"""Loss of each row, (N,), from logits (N, K, W) that a vocabulary knows how to read."""


def cross_entropy(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of each row's answer at its first target, (N,), in nats."""
    # A view of one target's logits gives them their gradient without a copy.
    first = logits.squeeze(1) if logits.shape[1] == 1 else logits[:, 0]
    return vocabulary.cross_entropy(first, batch.answers[:, 0])


def span(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy of the answers at each row's targets, (N,), in nats."""
    total = (log_probabilities(vocabulary, logits, batch) * batch.answered).sum(-1)
    return -total / batch.answered.sum(-1).clamp(min=1)


def log_probabilities(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Log-probability of the answer at each target, (N, K) in nats; of any token where none is."""
    picked = vocabulary.pick(logits, batch.answers.unsqueeze(-1))
    return (picked - vocabulary.normalizer(logits)).squeeze(-1)
