"""What is asked of logits, as data: another process can be told what is meant.

Kinds of answers have such questions of their own beside them. Each is called with a vocabulary,
logits (N, K, W) and a batch, and finds something in each row.

Shapes: N rows, K targets in a row, W a rank's part of the vocabulary, C sets of candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_ANSWER, Batch
from ptune_scale.task.objective import Vocabulary, log_probabilities


@dataclass(frozen=True)
class Ranks:
    """Rank of the answer at each target among each set of candidates, (N, K, C) int64."""

    candidates: Candidates

    def of_tasks(self, tasks: Sequence[int]) -> "Ranks":
        """Those of some tasks, which are numbered anew."""
        return Ranks(self.candidates.of_tasks(tasks))

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        answers = batch.answers.masked_fill(~batch.answered, NO_ANSWER)
        return vocabulary.ranks(logits, answers, batch.tasks, self.candidates)


@dataclass(frozen=True)
class Top:
    """Probabilities and ids of the k likeliest tokens at each target, (N, K, k, 2) fp64."""

    k: int

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        probabilities, tokens = vocabulary.top(logits, self.k)
        return torch.stack([probabilities.double(), tokens.double()], dim=-1)


@dataclass(frozen=True)
class AnswerLogProbabilities:
    """Log-probability of the answer at each target, (N, K) fp32 in nats; 0 where there is none."""

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        return log_probabilities(vocabulary, logits, batch).where(batch.answered, 0.0)


@dataclass(frozen=True)
class NextTokens:
    """Log-probabilities of some tokens, (C,) int64, at the first target, (N, C) fp32 in nats."""

    tokens: Tensor

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        first = logits[:, :1]
        asked = self.tokens.to(logits.device).expand(len(batch), 1, -1)
        return (vocabulary.pick(first, asked) - vocabulary.normalizer(first))[:, 0]
