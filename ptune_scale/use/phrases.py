"""Whole words and phrases from a causal model, which answers token by token.

A beam of beginnings is grown until words end. A prompt that was trained to an end token says by it
where an answer ends; after any other, an answer ends before what is no part of it: punctuation, a
line break, or a new word that is no name ("São" goes on to "Paulo", "Paris" ends before "and").

Shapes: V vocabulary.
"""

import torch
from torch import Tensor

from ptune_scale.task.ask import Asker, continued
from ptune_scale.task.example import Example
from ptune_scale.task.tokenization import Tokenization

_WIDTH = 12
_MOST_TOKENS = 10


def likely_phrases(
    asker: Asker, row: Example, tokens: Tokenization, k: int, *, to_end_token: bool
) -> list[tuple[str, float]]:
    """The k likeliest answers to a row that ends in front of its answer.

    Args:
        to_end_token: the prompt was trained to an end token.

    Returns:
        texts with their probabilities, best first.
    """
    size = tokens.vocab_size
    ends = torch.zeros(size, dtype=torch.bool)
    if to_end_token:
        ends[tokens.end_token] = True
        begins = ~ends
    else:
        ends, begins = word_ends(tokens)
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    found: dict[str, float] = {}
    for length in range(_MOST_TOKENS):
        scores = asker.next_tokens([continued(row, ids) for _, ids in beam], torch.arange(size))
        grown: list[tuple[float, tuple[int, ...]]] = []
        for (score, ids), each in zip(beam, scores, strict=True):
            if ids:
                text = tokens.text_after(ids).strip()
                whole = score + float(each[ends].logsumexp(0))
                if text and whole > found.get(text, -torch.inf):
                    found[text] = whole
            allowed = each.masked_fill(~begins if not length else ends, -torch.inf)
            best = allowed.topk(_WIDTH)
            grown += [
                (score + float(value), (*ids, int(token)))
                for value, token in zip(best.values, best.indices, strict=True)
            ]
        beam = sorted(grown, reverse=True)[:_WIDTH]
        done = sorted(found.values(), reverse=True)
        if len(done) >= k and done[k - 1] >= beam[0][0]:
            break
    ranked = sorted(found.items(), key=lambda pair: -pair[1])[:k]
    return [(text, float(torch.tensor(value).exp())) for text, value in ranked]


def word_ends(tokens: Tokenization) -> tuple[Tensor, Tensor]:
    """Which tokens end an answer that stands before them, and which may begin one, (V,) both."""
    ends = torch.ones(tokens.vocab_size, dtype=torch.bool)
    begins = torch.zeros(tokens.vocab_size, dtype=torch.bool)
    special = set(tokens.tokenizer.all_special_ids)
    ids = list(range(min(len(tokens.tokenizer), tokens.vocab_size)))
    for token, text in zip(ids, tokens.texts_inside(ids), strict=True):
        if token in special or not text.strip():
            continue
        first = text.strip()[0]
        new_word = text[0].isspace()
        begins[token] = new_word and first.isalnum()
        # Of the words behind a space only names are part of an answer ("New York").
        goes_on = first.isalpha() and not first.islower() if new_word else _inside_word(first)
        ends[token] = not goes_on
    return ends, begins


def _inside_word(character: str) -> bool:
    return character.isalnum() or character in "-'’"
