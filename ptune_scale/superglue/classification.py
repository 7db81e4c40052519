"""Records for a model with a head of its own: labels told apart, no words read, nothing asked.

A masked model is read at its first token, a causal one at its last, which alone has seen all. One
row of a record has an output for each label; where a record has a row for each choice, each has one
output. Either way L numbers come of a record, and their softmax is what the model says.

Shapes: N rows, M records, L labels, C outputs of a row, S slots, H embedding size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptune_scale.data.batch import Batch
from ptune_scale.parallel import Objective
from ptune_scale.parallel.vocabulary import Vocabulary
from ptune_scale.superglue.parts import PartEncoder
from ptune_scale.superglue.predict import Predictions, Predictor
from ptune_scale.superglue.problem import SuperglueProblem
from ptune_scale.superglue.question import Question, collate_questions
from ptune_scale.superglue.row import Row, Rows
from ptune_scale.superglue.row_encoder import Purpose
from ptune_scale.superglue.task import Record, Task
from ptune_scale.template import NO_SLOT
from ptune_scale.tokenization import Tokenization


class ClassificationEncoder:
    """Encodes the records of a task by its ``classify`` patterns.

    Args:
        max_length: the most tokens of a row, special tokens included.

    Attributes:
        group_size: rows of a record.
        outputs: C, of the head that reads a row.
    """

    def __init__(self, task: Task, tokens: Tokenization, max_length: int) -> None:
        self.task = task
        self.tokens = tokens
        self.group_size = len(task.classify)
        self.outputs = 1 if self.group_size > 1 else len(task.labels)
        self._parts = [
            PartEncoder(task, pattern, pattern.pieces, tokens, max_length)
            for pattern in task.classify
        ]

    def encode(self, records: Sequence[Record], purpose: Purpose) -> Rows:
        """The rows of all records, in order, the same for either purpose.

        Raises:
            UserError: a record does not fit the length even without its shortenable texts.
        """
        rows = [
            self._row(index, record, parts)
            for index, record in enumerate(records)
            for parts in self._parts
        ]
        return Rows(tuple(rows), self.group_size)

    def _row(self, index: int, record: Record, encoder: PartEncoder) -> Row:
        parts, cut = encoder.encode(record, index)
        prefix, suffix = self.tokens.special_ends
        ids = (*prefix, *(token for part in parts for token in part.ids), *suffix)
        return Row(
            record=index,
            label=record.label,
            ids=ids,
            slots=(NO_SLOT,) * len(ids),
            targets=(0 if self.tokens.kind == "masked" else len(ids) - 1,),
            answers=(0,),
            answered=(False,),
            decode=0,
            cut=cut,
        )


class Classifier(Predictor):
    """Asks a model with a head of its own; see ``Predictor``."""

    encoder: ClassificationEncoder

    def predict(
        self, records: Sequence[Record], questions: Sequence[Question], prompts: Tensor
    ) -> Predictions:
        """Answer questions; see ``Predictor.predict``."""
        rows = [row for question in questions for row in question.rows]

        def ask(batch: Batch, part: list[Row]) -> Tensor:
            return self.function.ask(batch, prompts, _outputs, (self.encoder.outputs,))

        found = torch.stack(self._in_batches(rows, ask))
        scores = found.view(len(questions), -1).log_softmax(-1)
        return Predictions(tuple(scores.argmax(-1).tolist()), scores)


class ClassificationProblem(SuperglueProblem):
    """Cross-entropy of each record's label; see ``SuperglueProblem``."""

    def batch(self, examples: Sequence[Question]) -> tuple[Batch, Objective]:
        asked = collate_questions(examples, self.encoder.tokens.placeholder)
        return asked.batch, _RightLabel(asked.labels, len(self.encoder.task.labels))


class _RightLabel:
    """Each row of a record has the loss of the record, in nats."""

    def __init__(self, labels: Tensor, num_labels: int) -> None:
        self.labels = labels
        self.num_labels = num_labels

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        scores = _outputs(vocabulary, logits, batch).reshape(-1, self.num_labels)
        labels = self.labels.to(logits.device)[batch.index].view(len(scores), -1)
        losses = cross_entropy(scores, labels[:, 0], reduction="none")
        return losses.repeat_interleave(labels.shape[1])


def _outputs(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """What the head says of each row, (N, C) in fp32, from logits (N, 1, C)."""
    return logits[:, 0].float()
