"""Where words begin and end, token by token."""

import pytest

from ptune_scale.backbone import Backbone
from ptune_scale.use.phrases import word_ends


def test_every_token_ends_an_answer_or_goes_on_with_it(backbone: Backbone) -> None:
    tokens = backbone.tokens
    ends, begins = word_ends(tokens)
    assert ends.shape == begins.shape == (tokens.vocab_size,)

    def only(text: str) -> int:
        [token] = tokens.after(text)
        return token

    def kinds(text: str) -> tuple[bool, bool]:
        return bool(begins[only(text)]), bool(ends[only(text)])

    # (may begin an answer, ends the answer in front of it)
    assert kinds(" Paris") == (True, False)  # a new word that is a name
    assert kinds(" city") == (True, True)  # a new word that is none
    assert kinds(" of") == (True, True)
    assert kinds(",") == kinds(".") == (False, True)
    assert kinds(" .") == (False, True)  # a new word without a letter, as in "Oslo ("
    assert kinds("o") == kinds("7") == (False, False)  # inside of a word or number
    assert kinds("-") == kinds("'") == (False, False)
    assert kinds("\n") == (False, True)
    assert not begins[tokens.end_token] and ends[tokens.end_token]


@pytest.mark.parametrize("text", ["é", "日"])
def test_bytes_of_a_letter_are_neither_begun_nor_ended_with(text: str, backbone: Backbone) -> None:
    ends, begins = word_ends(backbone.tokens)
    ids = backbone.tokens.after(text)
    assert len(ids) > 1 and not begins[ids].any()
