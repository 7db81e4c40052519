"""Correlations of two scores over prompts."""

import math

import pytest

from ptune_scale.experiments.prompt_study.report import correlation


def test_correlations_are_those_of_the_textbook() -> None:
    small, full = [0.1, 0.2, 0.3, 0.4], [0.1, 0.4, 0.3, 0.9]
    found = correlation(small, full)
    xs, ys = [x - 0.25 for x in small], [y - sum(full) / 4 for y in full]
    product = sum(x * y for x, y in zip(xs, ys, strict=True))
    spread = math.sqrt(sum(x * x for x in xs) * sum(y * y for y in ys))
    assert found["pearson"] == pytest.approx(product / spread)
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15).
    assert found["spearman"] == pytest.approx(0.8)


def test_ranks_alone_decide_for_spearman() -> None:
    assert correlation([0.0, 0.1, 1.0], [0.5, 0.51, 0.52])["spearman"] == pytest.approx(1)
    assert correlation([0.0, 0.1, 1.0], [3, 2, 1])["spearman"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("small", "full"), [([0.1, 0.2], [0.1, 0.2]), ([0.5] * 4, [1, 2, 3, 4]), ([1, 2, 3], [0.0] * 3)]
)
def test_too_few_prompts_or_equal_scores_have_none(small, full) -> None:
    assert correlation(small, full) is None
