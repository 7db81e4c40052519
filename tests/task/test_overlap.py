"""How alike two texts are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptune_scale.task.overlap import plain_words, rouge_l, token_f1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The U.S. Army!", ["us", "army"]),
        ("an  Apple a\tday", ["apple", "day"]),
        ("another theme", ["another", "theme"]),
        ("A", ["a"]),
        ("+", ["+"]),
        (" ", []),
    ],
)
def test_case_punctuation_and_articles_do_not_count_unless_nothing_else_is_there(
    text: str, words: list[str]
) -> None:
    assert plain_words(text) == words


@pytest.mark.parametrize("likeness", [token_f1, rouge_l])
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(a=st.text(max_size=20), b=st.text(max_size=20))
def test_likeness_is_between_0_and_1_and_the_same_both_ways(likeness, a: str, b: str) -> None:
    assert 0 <= likeness(a, b) <= 1
    assert likeness(a, b) == pytest.approx(likeness(b, a))


def test_words_of_all_scripts_are_words() -> None:
    assert rouge_l("столица Осло", "Осло") == pytest.approx(2 / 3)
    assert rouge_l("Осло", "Париж") == 0
    assert token_f1("", "") == 1
