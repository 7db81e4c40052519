"""Rows as patterns make them, for tests of what models compute of them."""

from collections.abc import Callable

import pytest

from ptune_scale.task.example import Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.tokenization import Tokenization


@pytest.fixture(scope="session")
def fill() -> Callable[..., Example]:
    """Fill a pattern of one field with a subject, and ask for one token."""

    def make(pattern: str, subject: str, tokens: Tokenization, answer: int = 1) -> Example:
        filler = Filler(Pattern.parse(pattern), tokens, whose="a test")
        record = Record("1", {"subject": subject}, None)
        parts, _ = filler.fill(record, masks=int(tokens.kind == "masked"))
        row = filler.join(parts, [answer])
        return Example(0, row.ids, row.slots, row.targets, (answer,))

    return make
