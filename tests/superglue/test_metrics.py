"""Metrics, against the definitions written out plainly."""

import random

import pytest

from ptune_scale.errors import UserError
from ptune_scale.superglue import TASKS, metrics
from ptune_scale.superglue.tasks.multirc import Candidate


def _f1(predictions: list[int], labels: list[int], positive: int) -> float:
    pairs = list(zip(predictions, labels, strict=True))
    right = pairs.count((positive, positive))
    wrong = sum(p == positive for p, _ in pairs) + sum(t == positive for _, t in pairs) - 2 * right
    return 2 * right / (2 * right + wrong) if right else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_cb_is_accuracy_and_the_mean_f1_of_classes(seed: int) -> None:
    chance = random.Random(seed)
    labels, predictions = ([chance.randrange(3) for _ in range(40)] for _ in range(2))
    values = metrics.accuracy_and_macro_f1(predictions, labels)
    hits = sum(p == t for p, t in zip(predictions, labels, strict=True))
    assert values["accuracy"] == pytest.approx(hits / 40)
    expected = sum(_f1(predictions, labels, c) for c in range(3)) / 3
    assert values["f1_macro"] == pytest.approx(expected)


def test_a_class_that_is_never_predicted_has_f1_0_and_one_nowhere_does_not_count() -> None:
    never = metrics.accuracy_and_macro_f1([0, 0, 1, 1], [0, 0, 1, 2])
    assert never["f1_macro"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert metrics.accuracy_and_macro_f1([0, 1], [0, 1])["f1_macro"] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_multirc_is_em_by_question_and_f1_over_answers(seed: int) -> None:
    chance = random.Random(seed)
    questions = sorted(chance.randrange(12) for _ in range(40))
    labels, predictions = ([int(chance.random() < 0.4) for _ in range(40)] for _ in range(2))
    predictions = [
        t if chance.random() < 0.7 else p for p, t in zip(predictions, labels, strict=True)
    ]
    right = [
        all(predictions[i] == labels[i] for i in range(40) if questions[i] == question)
        for question in set(questions)
    ]
    values = metrics.multirc(predictions, labels, questions)
    assert values["em"] == pytest.approx(sum(right) / len(right))
    assert values["f1a"] == pytest.approx(_f1(predictions, labels, 1))


def test_a_question_without_right_answers_can_be_matched() -> None:
    values = metrics.multirc([0, 0, 1], [0, 0, 1], ["a", "a", "b"])
    assert values == {"em": 1.0, "f1a": 1.0, "accuracy": 1.0}
    none = metrics.multirc([0, 0], [0, 0], ["a", "a"])
    assert none == {"em": 1.0, "f1a": 0.0, "accuracy": 1.0}


def test_questions_of_two_passages_are_two_questions() -> None:
    records = [
        Candidate(idx=(p, 0, a), label=1, passage="x", question="y", answer="z")
        for p, a in ((0, 0), (1, 1))
    ]
    assert TASKS["MultiRC"].score(records, [1, 0])["em"] == 0.5


def test_record_takes_the_best_of_the_answers() -> None:
    values = metrics.record(
        ["The U.S. Army", "Tom Smith", "nobody"], [["us army"], ["Ann", "Tom Lee Smith"], ["Ann"]]
    )
    assert values["em"] == pytest.approx(1 / 3)
    assert values["f1"] == pytest.approx((1 + 2 * 1 * (2 / 3) / (1 + 2 / 3) + 0) / 3)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UserError, match="2 predictions for 1 records"):
        metrics.accuracy([0, 1], [0])
    with pytest.raises(UserError, match="has a label"):
        metrics.accuracy([0], [None])
    with pytest.raises(UserError, match="has an answer"):
        metrics.record(["x"], [[]])
