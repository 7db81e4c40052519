"""Records as questions to a model, and batches of them with what should be answered.

Shapes: N rows, K targets in a row (padded to the most of the batch), T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptune_scale.data.batch import Batch, Example, collate
from ptune_scale.superglue.row import Row, Rows


@dataclass(frozen=True, slots=True)
class Question:
    """The rows of one record.

    Attributes:
        label: index of its label, None if it is not known.
        rows: one, or one for each choice.
    """

    label: int | None
    rows: tuple[Row, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of its longest row."""
        return max(len(row.ids) for row in self.rows)


@dataclass(frozen=True)
class QuestionBatch:
    """Questions as a batch, and what should be answered in each of its rows.

    Attributes:
        batch: N rows; rows of a question are a group.
        answers: (N, K) int64, the tokens that should stand at the targets.
        answered: (N, K) bool, False where there is no such token.
        labels: (N,) int64, of each row's question; -1 if it is not known.
    """

    batch: Batch
    answers: Tensor
    answered: Tensor
    labels: Tensor


def questions_of(rows: Rows) -> list[Question]:
    """The questions of encoded records, in order."""
    size = rows.group_size
    groups = [rows.rows[start : start + size] for start in range(0, len(rows.rows), size)]
    return [Question(group[0].label, group) for group in groups]


def collate_questions(questions: Sequence[Question], pad: int) -> QuestionBatch:
    """Batch questions, all of as many rows.

    Args:
        pad: token id for padding.
    """
    rows = [row for question in questions for row in question.rows]
    batch = collate_rows(rows, pad, group_size=len(questions[0].rows))
    most = batch.targets.shape[1]
    labels = [question.label for question in questions for _ in question.rows]
    return QuestionBatch(
        batch,
        torch.tensor([[*row.answers, *[0] * (most - len(row.answers))] for row in rows]),
        torch.tensor([[*row.answered, *[False] * (most - len(row.answered))] for row in rows]),
        torch.tensor([-1 if label is None else label for label in labels]),
    )


def collate_rows(rows: Sequence[Row], pad: int, *, group_size: int = 1) -> Batch:
    """Batch rows; where one has fewer targets than others, its last one stands in."""
    most = max(len(row.targets) for row in rows)
    examples = [
        Example(
            0,
            row.ids,
            row.slots,
            (*row.targets, *[row.targets[-1]] * (most - len(row.targets))),
            row.answers[0],
        )
        for row in rows
    ]
    return collate(examples, pad, group_size=group_size)
