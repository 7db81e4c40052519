"""Metrics by name, over what was answered.

SuperGLUE's: Wang et al. 2019, section 3; MultiRC's: Khashabi et al. 2018; exact match and token F1:
Rajpurkar et al. 2016 (SQuAD); ROUGE-L: Lin 2004.
"""

import difflib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from ptune_scale.errors import UserError
from ptune_scale.task.overlap import plain_words, rouge_l, token_f1

_POSITIVE = "1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was answered to a record.

    Attributes:
        expected, answer: the right answer, and the given one.
        scores: by label or choice.
        rank: of the right answer among all candidates, 1 is best.
        log_likelihood: of the right answer's tokens together, in nats.
        num_tokens: how many they are.
        group: records of a group belong together, such as the answers to one question.
    """

    expected: str
    answer: str
    scores: Mapping[str, float] | None = None
    rank: int | None = None
    log_likelihood: float | None = None
    num_tokens: int | None = None
    group: str = ""


@dataclass(frozen=True)
class Metric:
    """A number that says how good answers are.

    Attributes:
        help: what it is, in a line.
        values: the values, one a record or one a group, whose mean it is; None where it is no mean.
        of_counts: what it is of how often each label was answered where each was right,
            (..., K, K), given the K labels, where that is all that it depends on.
        whole: what it is otherwise.
        needs: attributes of an outcome that it cannot do without, besides the answers.
    """

    name: str
    help: str
    values: Callable[[Sequence[Outcome]], Sequence[float]] | None = None
    of_counts: Callable[[np.ndarray, Sequence[str]], np.ndarray] | None = None
    whole: Callable[[Sequence[Outcome]], float] | None = None
    needs: tuple[str, ...] = ()
    better: Literal["higher", "lower"] = "higher"

    def compute(self, outcomes: Sequence[Outcome]) -> float:
        """Its value, a finite number.

        Raises:
            UserError: there are no outcomes, or they lack what it is made of.

        Example:
            >>> METRICS["accuracy"].compute([Outcome("Yes", "Yes"), Outcome("No", "Yes")])
            0.5
        """
        if not outcomes:
            raise UserError(f"{self.name} of no records: give at least one that has an answer")
        for needed in self.needs:
            lacking = sum(getattr(outcome, needed) in (None, "") for outcome in outcomes)
            if lacking:
                raise UserError(
                    f"{self.name} needs the {needed.replace('_', ' ')} of every record, which "
                    f"{lacking} of {len(outcomes)} lack"
                )
        value = math.nan
        if self.values is not None:
            value = fmean(self.values(outcomes))
        elif self.of_counts is not None:
            labels = labels_of(outcomes)
            value = float(self.of_counts(counts_of(outcomes, labels), labels))
        elif self.whole is not None:
            value = self.whole(outcomes)
        if not math.isfinite(value):
            raise UserError(f"{self.name} is {value}: a right answer was held to be impossible")
        return float(value)


def find_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown metric {name!r}; {hint}known: {', '.join(METRICS)}")
    return METRICS[name]


def check_metrics(names: Sequence[str], kind: str, allowed: Sequence[str], task: str) -> None:
    """Make sure that a task's metrics are known and make sense for its answers.

    Args:
        kind: of the answers.
        allowed: the metrics for that kind.

    Raises:
        UserError: one is not.
    """
    for name in names:
        find_metric(name)
        if name not in allowed:
            raise UserError(
                f"task {task}: metric {name!r} is not for answers of kind {kind!r}; "
                f"choose from {', '.join(allowed)}"
            )


def _each(score: Callable[[Outcome], float]) -> Callable[[Sequence[Outcome]], list[float]]:
    return lambda outcomes: [float(score(outcome)) for outcome in outcomes]


def labels_of(outcomes: Sequence[Outcome]) -> list[str]:
    """The labels that were right or answered, sorted."""
    return sorted({label for o in outcomes for label in (o.expected, o.answer)})


def counts_of(outcomes: Sequence[Outcome], labels: Sequence[str]) -> np.ndarray:
    """How often each label was answered (columns) where each was right (rows), (K, K)."""
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)))
    for outcome in outcomes:
        counts[place[outcome.expected], place[outcome.answer]] += 1
    return counts


# In scikit-learn these take milliseconds, and a confidence interval hundreds of them.
def _f1_of_labels(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The F1 of each label, (..., K), and which labels are there at all."""
    hits = counts.diagonal(axis1=-2, axis2=-1)
    size = counts.sum(-1) + counts.sum(-2)
    return 2 * hits / np.maximum(size, 1), size > 0


def _macro_f1(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    f1, there = _f1_of_labels(counts)
    return f1.sum(-1) / there.sum(-1)


def _mcc(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Gorodkin 2004, for any number of labels; 0 by definition where one is all there is."""
    hits = counts.diagonal(axis1=-2, axis2=-1).sum(-1)
    right, given, count = counts.sum(-1), counts.sum(-2), counts.sum((-1, -2))
    spread = (count**2 - (right**2).sum(-1)) * (count**2 - (given**2).sum(-1))
    excess = hits * count - (right * given).sum(-1)
    return np.where(spread > 0, excess / np.sqrt(np.maximum(spread, 1)), 0.0)


def _positive_f1(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    others = [
        label
        for label, right in zip(labels, counts.sum(-1).reshape(-1, len(labels)).T, strict=True)
        if label not in ("0", _POSITIVE) and right.any()
    ]
    if others:
        raise UserError(f"f1a is for the labels 0 and 1, got {', '.join(map(repr, others))}")
    if _POSITIVE not in labels:
        return np.zeros(counts.shape[:-2])
    return _f1_of_labels(counts)[0][..., list(labels).index(_POSITIVE)]


def _whole_groups(outcomes: Sequence[Outcome]) -> list[float]:
    wholly_right: dict[str, bool] = defaultdict(lambda: True)
    for outcome in outcomes:
        wholly_right[outcome.group] &= outcome.expected == outcome.answer
    return [float(right) for right in wholly_right.values()]


def _perplexity(outcomes: Sequence[Outcome]) -> float:
    tokens = sum(outcome.num_tokens or 0 for outcome in outcomes)
    total = -sum(outcome.log_likelihood or 0.0 for outcome in outcomes)
    mean = total / tokens if tokens else math.inf
    return math.exp(mean) if mean < 700 else math.inf


def _rank(outcome: Outcome) -> float:
    return math.inf if outcome.rank is None else outcome.rank


def _right(outcome: Outcome) -> bool:
    return outcome.answer == outcome.expected


def _right_phrase(outcome: Outcome) -> bool:
    return plain_words(outcome.answer) == plain_words(outcome.expected)


_LIKELIHOOD = ("log_likelihood", "num_tokens")
_RANK = ("rank",)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "share of right answers", _each(_right)),
        Metric("macro_f1", "mean over classes of the F1 of each", of_counts=_macro_f1),
        # Each record has one label, so that every miss is one of precision and one of recall.
        Metric("micro_f1", "F1 of all classes together", _each(_right)),
        Metric("mcc", "Matthews' correlation coefficient", of_counts=_mcc),
        Metric("p_at_1", "share ranked first", _each(lambda o: _rank(o) == 1), needs=_RANK),
        Metric("p_at_10", "share of the first 10", _each(lambda o: _rank(o) <= 10), needs=_RANK),
        Metric("mrr", "mean of 1/rank", _each(lambda o: 1 / _rank(o)), needs=_RANK),
        Metric("exact_match", "share right but for case and punctuation", _each(_right_phrase)),
        Metric(
            "token_f1",
            "mean F1 of words in common",
            _each(lambda o: token_f1(o.answer, o.expected)),
        ),
        Metric(
            "rouge_l",
            "mean F1 of the longest common subsequence",
            _each(lambda o: rouge_l(o.answer, o.expected)),
        ),
        Metric(
            "perplexity",
            "of the right answers, by token",
            whole=_perplexity,
            needs=_LIKELIHOOD,
            better="lower",
        ),
        Metric(
            "em_by_group",
            "share of groups all of whose answers are right",
            _whole_groups,
            needs=("group",),
        ),
        Metric("f1a", "F1 of label 1 over all answers", of_counts=_positive_f1),
    )
}
