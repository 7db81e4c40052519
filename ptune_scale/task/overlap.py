"""How alike two texts are; every value is between 0 and 1."""

import re
import string
from collections import Counter
from functools import cache
from typing import Any


def plain_words(text: str) -> list[str]:
    """The words of a text that count: in lower case, without punctuation and articles.

    A text of nothing else, such as "+" or "A", stays what it is.
    """
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split() or text.lower().split()


def token_f1(answer: str, expected: str) -> float:
    """F1 of the words that two texts share; where one has none, whether both have none."""
    given, right = plain_words(answer), plain_words(expected)
    common = (Counter(given) & Counter(right)).total()
    if not given or not right:
        return float(given == right)
    return 2 * common / (len(given) + len(right))


def rouge_l(answer: str, expected: str) -> float:
    """F1 of the longest common subsequence of words."""
    return _rouge().score(expected, answer)["rougeL"].fmeasure


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    class LettersOfAllScripts:
        """The library's own knows those of English alone."""

        def tokenize(self, text: str) -> list[str]:
            return re.findall(r"[^\W_]+", text.lower())

    return RougeScorer(["rougeL"], tokenizer=LettersOfAllScripts())
