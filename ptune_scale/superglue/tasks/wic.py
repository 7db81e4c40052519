"""WiC: does a word have the same meaning in two sentences?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptune_scale.superglue import metrics
from ptune_scale.superglue.fields import BadRecord, Fields
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Record, Task

LABELS = ("F", "T")
YES_NO = {"F": "No", "T": "Yes"}
SENSES = {"F": "2", "T": "b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WordPair(Record):
    """A word, in its dictionary form, and two sentences with it."""

    word: str
    sentence1: str
    sentence2: str


def read(fields: Fields) -> Iterator[WordPair]:
    """The pair of one JSON object; the spans of the word are checked, but not needed."""
    for number in "12":
        if f"start{number}" in fields.values:
            _check_span(fields, number)
    yield WordPair(
        idx=(fields.integer("idx"),),
        label=fields.label((False, True)),
        word=fields.text("word"),
        sentence1=fields.text("sentence1"),
        sentence2=fields.text("sentence2"),
    )


def _check_span(fields: Fields, number: str) -> None:
    # The word may be inflected in the sentence, so only the place of some word can be checked.
    start, end = fields.integer(f"start{number}"), fields.integer(f"end{number}")
    sentence = fields.values.get(f"sentence{number}")
    span = sentence[start:end] if isinstance(sentence, str) and 0 <= start < end else ""
    if len(span) < end - start or span != span.strip() or not span:
        raise BadRecord(f"no word stands at {start} to {end} of 'sentence{number}'")


def score(records: Sequence[WordPair], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy."""
    return metrics.accuracy(predictions, [record.label for record in records])


TASK = Task(
    name="WiC",
    labels=LABELS,
    answer="words",
    record=WordPair,
    read=read,
    score=score,
    patterns={
        "ptuning": Pattern.parse("{sentence1...} [SEP] {sentence2...} [P] *{word}*? [Y]", YES_NO),
        "no_anchors": Pattern.parse("{sentence1...} [P] {sentence2...} [P] {word} [P] [Y]", YES_NO),
        # PET's three; the last has its target in the middle.
        "manual_0": Pattern.parse(
            '"{sentence1...}" / "{sentence2...}" Similar sense of "{word}"? [Y].', YES_NO
        ),
        "manual_1": Pattern.parse(
            "{sentence1...} {sentence2...} "
            "Does {word} have the same meaning in both sentences? [Y]",
            YES_NO,
        ),
        "manual_2": Pattern.parse(
            '{word} . Sense (1) (a) "{sentence1...}" ( [Y] ) "{sentence2...}"', SENSES
        ),
    },
    classify=(Pattern.untargeted("{sentence1...} [SEP] {sentence2...} [SEP] {word}"),),
    reference_patterns={
        1: Pattern.reference("{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[Y]", YES_NO),
        2: Pattern.reference("{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[P]|[Y]", YES_NO),
        3: Pattern.reference(
            "[P]|{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[P]|[Y]", YES_NO
        ),
        4: Pattern.reference(
            "[P]|{sentence1...}|[SEP]|{sentence2...}|[P]|*{word} *?|[P]|[Y]|[P]", YES_NO
        ),
    },
)
