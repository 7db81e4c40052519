"""WSC: does a pronoun of a text refer to a given noun phrase of it?

The model is asked for the phrase; the answer is yes if the phrase that it writes is the given one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptune_scale.superglue import metrics
from ptune_scale.superglue.fields import BadRecord, Fields
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Record, Task

LABELS = ("False", "True")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference(Record):
    """A text with a pronoun and a noun phrase.

    Attributes:
        text: words separated by single spaces.
        span: the noun phrase.
        pronoun: the pronoun as it stands in the text.
        position: index of the pronoun among the words.
    """

    text: str
    span: str
    pronoun: str
    position: int

    @property
    def marked_text(self) -> str:
        """The text with asterisks around the pronoun."""
        words = self.text.split()
        words[self.position] = f"*{words[self.position]}*"
        return " ".join(words)


def read(fields: Fields) -> Iterator[Reference]:
    """The question of one JSON object.

    Some of the published positions are one off, and some pronouns have punctuation attached; both
    are set right, as in PET.
    """
    target = fields.nested("target")
    words = fields.text("text").split()
    pronoun, position = target.text("span2_text"), target.integer("span2_index")
    words, position = _locate(words, pronoun, position)
    span = target.text("span1_text")
    if not _letters(span) <= _letters(" ".join(words)):
        raise BadRecord(f"'target.span1_text' {span!r} does not occur in 'text'")
    yield Reference(
        idx=(fields.integer("idx"),),
        label=fields.label((False, True)),
        text=" ".join(words),
        span=span,
        pronoun=pronoun,
        position=position,
    )


def _locate(words: list[str], pronoun: str, position: int) -> tuple[list[str], int]:
    """The words with the pronoun as one of them, and its place among them."""
    for place in (position, position - 1, position + 1):
        if 0 <= place < len(words) and words[place] == pronoun:
            return words, place
    if 0 <= position < len(words) and words[position].startswith(pronoun):
        head, tail = words[position][: len(pronoun)], words[position][len(pronoun) :]
        return [*words[:position], head, tail, *words[position + 1 :]], position
    raise BadRecord(f"'target.span2_text' {pronoun!r} is not word {position} of 'text'")


def options(record: Reference) -> tuple[str]:
    """What should stand at the target."""
    return (record.span,)


def true_only(records: Sequence[Reference]) -> list[Reference]:
    """Only of a pronoun that refers to the phrase is the right answer known."""
    return [record for record in records if record.label == 1]


def refers(decoded: str, record: Reference, *, empty_refers: bool = False) -> bool:
    """Whether a decoded phrase is the record's: all words of one are in the other.

    The comparison of Raffel et al. 2020 (T5): letters only, in lower case.

    Args:
        empty_refers: whether a phrase without any letter is taken for the record's, as the
            reference implementation does because nothing contradicts it.
    """
    written, given = _letters(decoded), _letters(record.span)
    if not written:
        return empty_refers
    return written <= given or given <= written


def _letters(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower()))


def score(records: Sequence[Reference], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy of 1 where the phrase was found."""
    return metrics.accuracy(predictions, [record.label for record in records])


TASK = Task(
    name="WSC",
    labels=LABELS,
    answer="span",
    record=Reference,
    read=read,
    score=score,
    options=options,
    training_records=true_only,
    patterns={
        "ptuning": Pattern.parse("[P] {marked_text...} [P] pronoun '*{pronoun}*' refers to [Y]."),
        "no_anchors": Pattern.parse("[P] {marked_text...} [P] {pronoun} [P] [Y]."),
        # PET's three.
        "manual_0": Pattern.parse("{marked_text...} The pronoun '*{pronoun}*' refers to [Y]."),
        "manual_1": Pattern.parse(
            "{marked_text...} In the previous sentence, the pronoun '*{pronoun}*' refers to [Y]."
        ),
        "manual_2": Pattern.parse(
            "{marked_text...} Question: In the passage above, "
            "what does the pronoun '*{pronoun}*' refer to? Answer: [Y]."
        ),
    },
    classify=(Pattern.untargeted("{marked_text...} [SEP] {span}"),),
    reference_patterns={
        1: Pattern.reference("{marked_text...}|[P]|pronoun '*|{pronoun}|*' refers to|[Y]."),
        2: Pattern.reference("[P]|{marked_text...}|[P]|pronoun '*|{pronoun}|*' refers to|[Y]."),
    },
)
