"""Questions as batches: shapes, and what stands in where a row has fewer targets."""

import torch

from ptune_scale.superglue.question import Question, collate_questions, questions_of
from ptune_scale.superglue.row import Row, Rows
from ptune_scale.template import NO_SLOT

PAD = 9


def _row(record: int, label: int | None, *ids: int, targets: tuple[int, ...]) -> Row:
    slots = (NO_SLOT, *range(len(ids) - 1))
    answers = tuple(100 + target for target in targets)
    answered = (True, *[False] * (len(targets) - 1))
    return Row(record, label, ids, slots, targets, answers, answered, decode=0, cut=0)


ROWS = Rows(
    (
        _row(0, 1, 1, 2, 3, 4, targets=(1, 2)),
        _row(0, 1, 1, 2, targets=(1,)),
        _row(1, None, 5, 6, 7, targets=(0, 1, 2)),
        _row(1, None, 5, 6, 8, targets=(2,)),
    ),
    group_size=2,
)


def test_the_rows_of_a_record_make_a_question() -> None:
    assert questions_of(ROWS) == [Question(1, ROWS.rows[:2]), Question(None, ROWS.rows[2:])]
    assert [question.num_tokens for question in questions_of(ROWS)] == [4, 3]


def test_all_is_padded_to_the_longest_row_and_the_most_targets() -> None:
    asked = collate_questions(questions_of(ROWS), PAD)
    batch = asked.batch
    assert batch.ids.tolist() == [[1, 2, 3, 4], [1, 2, PAD, PAD], [5, 6, 7, PAD], [5, 6, 8, PAD]]
    assert batch.slots.shape == (4, 4) and batch.slots[1].tolist() == [NO_SLOT, 0, NO_SLOT, NO_SLOT]
    assert batch.lengths.tolist() == [4, 2, 3, 3]
    # The last target is read again, and counts for nothing.
    assert batch.targets.tolist() == [[1, 2, 2], [1, 1, 1], [0, 1, 2], [2, 2, 2]]
    assert asked.answered.sum(1).tolist() == [1, 1, 1, 1]
    assert asked.answers[1].tolist() == [101, 0, 0]
    assert not asked.answered[:, 1:].any()
    assert batch.groups.tolist() == [0, 0, 1, 1] and batch.group_size == 2
    assert asked.labels.tolist() == [1, 1, -1, -1]
    assert torch.equal(batch.index, torch.arange(4))


def test_each_question_counts_the_same() -> None:
    batch = collate_questions(questions_of(ROWS), PAD).batch
    assert batch.weights.tolist() == [0.25] * 4
