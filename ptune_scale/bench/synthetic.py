"""Facts whose subjects have a given number of tokens, made of words of real facts.

They say nothing true; how fast they are trained on does not depend on that.
"""

import random
from collections.abc import Iterator

from ptune_scale.data.facts import Fact, FactSet, Relation
from ptune_scale.errors import UserError
from ptune_scale.tokenization import Tokenization

_TEST_FACTS = 2


def passages(
    facts: FactSet, tokens: Tokenization, length: int, *, count: int, seed: int
) -> FactSet:
    """One relation of ``count`` facts to train on.

    Args:
        facts: where words come from.
        tokens: each word is a single token by it.
        length: tokens of a subject.

    Raises:
        UserError: the facts have no word of a single token.
    """
    pairs = [f for r in facts.relations for part in (r.train, r.dev, r.test) for f in part]
    words = sorted({w for f in pairs for w in _words(f) if tokens.word_token(w) is not None})
    objects = sorted({f.object for f in pairs if tokens.word_token(f.object) is not None})
    if not words or not objects:
        raise UserError(f"{facts.source} has no word that is a single token: no passage to be made")
    chosen = random.Random(seed)

    def some(number: int) -> Iterator[Fact]:
        for _ in range(number):
            yield Fact(" ".join(chosen.choices(words, k=length)), chosen.choice(objects))

    test = tuple(some(_TEST_FACTS))
    # Short subjects may repeat, and what is repeated would be dropped.
    train = tuple(dict.fromkeys(f for f in some(4 * count) if f not in test))[:count]
    label = f"passages of {length} tokens"
    relation = Relation("passages", label, "[X] [Y]", train, (), test)
    return FactSet(f"{facts.source}, as {label}", (relation,))


def _words(fact: Fact) -> list[str]:
    return [*fact.subject.split(), *fact.object.split()]
