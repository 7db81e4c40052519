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
        whole: what it is otherwise.
        needs: attributes of an outcome that it cannot do without, besides the answers.
    """

    name: str
    help: str
    values: Callable[[Sequence[Outcome]], Sequence[float]] | None = None
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


def _macro_f1(outcomes: Sequence[Outcome]) -> float:
    from sklearn.metrics import f1_score

    return f1_score(*_pairs(outcomes), average="macro", zero_division=0.0)


def _mcc(outcomes: Sequence[Outcome]) -> float:
    from sklearn.metrics import matthews_corrcoef

    expected, answers = _pairs(outcomes)
    # 0 by definition; the library warns.
    return matthews_corrcoef(expected, answers) if len({*expected, *answers}) > 1 else 0.0


def _pairs(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    return [o.expected for o in outcomes], [o.answer for o in outcomes]


def _positive_f1(outcomes: Sequence[Outcome]) -> float:
    from sklearn.metrics import f1_score

    expected, answers = _pairs(outcomes)
    others = sorted({*expected} - {"0", _POSITIVE})
    if others:
        raise UserError(f"f1a is for the labels 0 and 1, got {', '.join(map(repr, others))}")
    right, given = ([int(label == _POSITIVE) for label in labels] for labels in (expected, answers))
    return f1_score(right, given, zero_division=0.0)


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
        Metric("macro_f1", "mean over classes of the F1 of each", whole=_macro_f1),
        # Each record has one label, so that every miss is one of precision and one of recall.
        Metric("micro_f1", "F1 of all classes together", _each(_right)),
        Metric("mcc", "Matthews' correlation coefficient", whole=_mcc),
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
        Metric("f1a", "F1 of label 1 over all answers", whole=_positive_f1),
    )
}
