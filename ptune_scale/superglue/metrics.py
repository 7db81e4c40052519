"""SuperGLUE's metrics, on plain sequences; every value is between 0 and 1.

Definitions: Wang et al. 2019, "SuperGLUE", section 3; MultiRC: Khashabi et al. 2018; ReCoRD:
Zhang et al. 2018.
"""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from sklearn.metrics import accuracy_score, f1_score

from ptune_scale.errors import UserError


def accuracy(predictions: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """Share of right labels."""
    _check(predictions, labels)
    return {"accuracy": float(accuracy_score(labels, predictions))}


def accuracy_and_macro_f1(predictions: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """CB: accuracy, and the mean over classes of the F1 of each.

    A class counts if it is a label or a prediction anywhere; one never predicted has F1 0.
    """
    _check(predictions, labels)
    macro = f1_score(labels, predictions, average="macro", zero_division=0.0)
    return {**accuracy(predictions, labels), "f1_macro": float(macro)}


def multirc(
    predictions: Sequence[int], labels: Sequence[int], questions: Sequence[Hashable]
) -> dict[str, float]:
    """MultiRC: one prediction an answer (1 if it is right), grouped by question.

    Returns:
        "em": share of questions with all answers judged rightly; "f1a": F1 of the positive class
        over all answers, 0 where there is none; "accuracy" over answers.
    """
    _check(predictions, labels)
    wholly_right: dict[Hashable, bool] = defaultdict(lambda: True)
    for question, prediction, label in zip(questions, predictions, labels, strict=True):
        wholly_right[question] &= prediction == label
    return {
        "em": sum(wholly_right.values()) / len(wholly_right),
        "f1a": float(f1_score(labels, predictions, average="binary", zero_division=0.0)),
        **accuracy(predictions, labels),
    }


def record(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """ReCoRD: the best match of a text with any of the right answers, over queries.

    Texts are compared in lower case, without articles and punctuation.

    Returns:
        "em": share of exact matches; "f1": mean F1 of the words in common.
    """
    _check(predictions, answers)
    exact = words = 0.0
    for prediction, right in zip(predictions, answers, strict=True):
        if not right:
            raise UserError("ReCoRD can be scored only where every query has an answer")
        exact += max(_plain(prediction) == _plain(answer) for answer in right)
        words += max(_word_f1(_plain(prediction), _plain(answer)) for answer in right)
    return {"em": exact / len(answers), "f1": words / len(answers)}


def _check(predictions: Sequence[object], labels: Sequence[object]) -> None:
    if len(predictions) != len(labels):
        raise UserError(f"{len(predictions)} predictions for {len(labels)} records")
    if not labels or any(label is None for label in labels):
        raise UserError("predictions can be scored only where every record has a label")


def _plain(text: str) -> list[str]:
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _word_f1(prediction: list[str], answer: list[str]) -> float:
    common = (Counter(prediction) & Counter(answer)).total()
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(answer)
    return 2 * precision * recall / (precision + recall)
