"""Metrics, against their definitions written out plainly."""

import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.metrics import METRICS, Outcome, check_metrics, find_metric


def _value(name: str, outcomes: Sequence[Outcome]) -> float:
    return METRICS[name].compute(outcomes)


def _pairs(*pairs: tuple[str, str]) -> list[Outcome]:
    """From (expected, answer)."""
    return [Outcome(*pair) for pair in pairs]


def _random(seed: int, labels: str = "abc", size: int = 40) -> list[Outcome]:
    chance = random.Random(seed)
    return [
        Outcome(
            chance.choice(labels),
            chance.choice(labels),
            rank=chance.randrange(1, 30),
            log_likelihood=-chance.random() * 9,
            num_tokens=chance.randrange(1, 5),
            group=f"q{chance.randrange(12)}",
        )
        for _ in range(size)
    ]


def _f1(outcomes: Sequence[Outcome], positive: str) -> float:
    right = sum(o.expected == o.answer == positive for o in outcomes)
    named = sum((o.expected == positive) + (o.answer == positive) for o in outcomes)
    return 2 * right / named if right else 0.0


def _whole_groups(outcomes: Sequence[Outcome]) -> float:
    groups = {o.group for o in outcomes}
    wrong = {o.group for o in outcomes if o.answer != o.expected}
    return (len(groups) - len(wrong)) / len(groups)


def _accuracy(outcomes: Sequence[Outcome]) -> float:
    return sum(o.answer == o.expected for o in outcomes) / len(outcomes)


DEFINITIONS: dict[str, Callable[[list[Outcome]], float]] = {
    "accuracy": _accuracy,
    "micro_f1": _accuracy,
    "macro_f1": lambda os: sum(_f1(os, label) for label in "abc") / 3,
    "p_at_1": lambda os: sum(o.rank == 1 for o in os) / len(os),
    "p_at_10": lambda os: sum(o.rank <= 10 for o in os) / len(os),
    "mrr": lambda os: sum(1 / o.rank for o in os) / len(os),
    "exact_match": _accuracy,
    "perplexity": lambda os: math.exp(
        -sum(o.log_likelihood for o in os) / sum(o.num_tokens for o in os)
    ),
    "em_by_group": _whole_groups,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_metric_is_what_its_definition_says(name: str, seed: int) -> None:
    # "a" is an article, and an answer all the same.
    outcomes = _random(seed)
    assert _value(name, outcomes) == pytest.approx(DEFINITIONS[name](outcomes))


@pytest.mark.parametrize("seed", range(3))
def test_f1a_is_the_f1_of_label_1_and_mcc_the_correlation(seed: int) -> None:
    outcomes = _random(seed, "01")
    assert _value("f1a", outcomes) == pytest.approx(_f1(outcomes, "1"))
    counts = {
        (e, a): sum((o.expected, o.answer) == (e, a) for o in outcomes) for e in "01" for a in "01"
    }
    tn, fp, fn, tp = (counts[pair] for pair in (("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")))
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert _value("mcc", outcomes) == pytest.approx((tp * tn - fp * fn) / root)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_made_of_counts_is_what_scikit_learn_says(seed: int) -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef

    outcomes = _random(seed, "abcd")
    right, given = [o.expected for o in outcomes], [o.answer for o in outcomes]
    assert _value("mcc", outcomes) == pytest.approx(matthews_corrcoef(right, given))
    assert _value("macro_f1", outcomes) == pytest.approx(f1_score(right, given, average="macro"))


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_has_f1_0_and_one_nowhere_does_not_count() -> None:
    never = _pairs(("0", "0"), ("0", "0"), ("1", "1"), ("2", "1"))
    assert _value("macro_f1", never) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert _value("macro_f1", _pairs(("0", "0"), ("1", "1"))) == 1.0
    alike = [replace(o, group="a") for o in _pairs(("0", "0"), ("0", "0"))]
    found = {name: _value(name, alike) for name in ("f1a", "mcc", "em_by_group", "macro_f1")}
    assert found == {"f1a": 0.0, "mcc": 0.0, "em_by_group": 1.0, "macro_f1": 1.0}


def test_texts_are_compared_by_their_words() -> None:
    outcomes = _pairs(("The U.S. Army", "us army"), ("Tom Lee Smith", "Tom Smith"), ("Ann", "x"))
    assert _value("exact_match", outcomes) == pytest.approx(1 / 3)
    assert _value("token_f1", outcomes) == pytest.approx((1 + 2 * (2 / 3) / (1 + 2 / 3)) / 3)
    assert _value("rouge_l", _pairs(("the cat sat", "sat the cat"))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_to_score_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} of no records"):
        _value(name, [])


@pytest.mark.parametrize(
    ("name", "outcomes", "message"),
    [
        ("mrr", [Outcome("a", "a", rank=1), Outcome("a", "a")], "needs the rank .* 1 of 2 lack"),
        ("p_at_1", _pairs(("a", "a")), "needs the rank"),
        ("perplexity", _pairs(("a", "a")), "needs the log likelihood"),
        ("perplexity", [Outcome("a", "a", log_likelihood=-1.0)], "needs the num tokens"),
        ("perplexity", [Outcome("a", "a", log_likelihood=-math.inf, num_tokens=1)], "impossible"),
        ("perplexity", [Outcome("a", "a", log_likelihood=math.nan, num_tokens=1)], "impossible"),
        ("perplexity", [Outcome("a", "a", log_likelihood=-1.0, num_tokens=0)], "impossible"),
        ("em_by_group", _pairs(("a", "a")), "needs the group"),
        ("f1a", _pairs(("yes", "yes")), "for the labels 0 and 1, got 'yes'"),
    ],
)
def test_what_a_metric_cannot_do_without_is_said(
    name: str, outcomes: list[Outcome], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _value(name, outcomes)


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown metric 'acuracy'; did you mean 'accuracy'?"):
        find_metric("acuracy")
    with pytest.raises(UserError, match="unknown metric 'zzz'; known: accuracy, "):
        find_metric("zzz")


def test_a_metric_that_makes_no_sense_for_a_kind_of_answer_is_refused() -> None:
    check_metrics(["accuracy"], "words", ("accuracy", "mcc"), "cb")
    with pytest.raises(UserError, match="task cb: metric 'rouge_l' .* 'words'; choose from acc"):
        check_metrics(["accuracy", "rouge_l"], "words", ("accuracy", "mcc"), "cb")
    with pytest.raises(UserError, match="did you mean"):
        check_metrics(["macro_f"], "words", ("accuracy",), "cb")


def test_only_perplexity_is_better_when_lower() -> None:
    assert [name for name, metric in METRICS.items() if metric.better == "lower"] == ["perplexity"]


def test_reading_and_scoring_load_no_large_library_before_they_need_one() -> None:
    heavy = ("torch", "transformers", "sklearn", "scipy", "pyarrow", "datasets", "rouge_score")
    code = (
        "import sys\n"
        "from ptune_scale.task import columns, metrics, confidence\n"
        f"sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.strip() == "[]"
