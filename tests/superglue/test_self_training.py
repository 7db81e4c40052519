"""Unlabeled records get the labels that models are surest of, in fixed numbers."""

import torch
from torch.testing import assert_close

from ptune_scale.superglue.self_training import label_surest, vote
from ptune_scale.superglue.tasks.cb import Pair

RECORDS = [
    Pair(idx=(number,), label=None, premise="It is.", hypothesis="It was.") for number in range(6)
]
PROBABILITIES = torch.tensor(
    [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.95, 0.05], [0.45, 0.55], [0.7, 0.3]]
)


def test_a_vote_is_the_mean_of_probabilities_not_of_scores() -> None:
    # Log-probabilities over a whole vocabulary: those of the labels do not add up to one.
    one, other = torch.tensor([[0.9, 0.1]]).log() - 3, torch.tensor([[0.2, 0.8]]).log() - 9
    assert_close(vote([one, other]), torch.tensor([[0.55, 0.45]]))


def test_the_surest_of_each_label_are_taken_in_the_order_of_the_records() -> None:
    chosen = label_surest(RECORDS, PROBABILITIES, {0: 2, 1: 1})
    assert [(record.idx[0], record.label) for record in chosen] == [(0, 0), (2, 1), (3, 0)]


def test_fewer_are_taken_where_fewer_are_thought_to_have_a_label() -> None:
    chosen = label_surest(RECORDS, PROBABILITIES, {1: 5})
    assert [(record.idx[0], record.label) for record in chosen] == [(2, 1), (4, 1)]
    assert label_surest(RECORDS, PROBABILITIES, {0: 0}) == []
    assert all(record.label is None for record in RECORDS)
