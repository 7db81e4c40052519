"""What is minimized in each kind of question; all are losses of rows, in nats.

Shapes: N rows, K targets, C label words, W this rank's part of the vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptune_scale.data.batch import Batch
from ptune_scale.parallel import Objective
from ptune_scale.parallel.vocabulary import Vocabulary
from ptune_scale.superglue.question import QuestionBatch
from ptune_scale.superglue.task import Answer

_MARGIN = 1.0


def objective_of(answer: Answer, words: Sequence[int], asked: QuestionBatch) -> Objective:
    """The objective of a task's kind of answer on a batch.

    Args:
        words: token ids of the C labels' words, for questions that they answer.
    """
    if answer == "words":
        return _LabelWords(torch.tensor(words), asked.labels)
    if answer == "choices":
        return _RightChoice(asked)
    return _Span(asked)


class _LabelWords:
    """Cross-entropy over the labels' words alone (Schick and Schütze 2021, equation 1)."""

    def __init__(self, words: Tensor, labels: Tensor) -> None:
        self.words = words
        self.labels = labels

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        words = self.words.to(logits.device).expand(len(batch), 1, -1)
        scores = vocabulary.pick(logits[:, :1], words)
        labels = self.labels.to(logits.device)[batch.index]
        return cross_entropy(scores[:, 0], labels, reduction="none")


class _Span:
    """Mean cross-entropy of the tokens that should stand at a row's targets."""

    def __init__(self, asked: QuestionBatch) -> None:
        self.asked = asked

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        answers = self.asked.answers.to(logits.device)[batch.index]
        answered = self.asked.answered.to(logits.device)[batch.index]
        picked = vocabulary.pick(logits, answers.unsqueeze(-1)) - vocabulary.normalizer(logits)
        total = (picked.squeeze(-1) * answered).sum(-1)
        return -total / answered.sum(-1).clamp(min=1)


class _RightChoice:
    """Hinge loss between the right choice and the wrong one, of their mean cross-entropies.

    The published code takes these means over all choices of the batch together; here each
    question has its own, so that its loss does not depend on what else is in the batch.
    """

    def __init__(self, asked: QuestionBatch) -> None:
        self._span = _Span(asked)
        self.labels = asked.labels

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        losses = self._span(vocabulary, logits, batch).view(-1, 2)
        right = self.labels.to(logits.device)[batch.index].view(-1, 2)[:, :1]
        margin = losses.gather(1, right) - losses.gather(1, 1 - right)
        return (_MARGIN + margin).relu().expand(-1, 2).flatten()
