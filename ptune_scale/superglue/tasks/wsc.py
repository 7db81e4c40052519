"""WSC: does a pronoun of a text refer to a given noun phrase of it?

The model is asked for the phrase; the answer is yes if the phrase that it writes is the given one.
"""

import re
from collections.abc import Iterator, Sequence

from ptune_scale.superglue.fields import BadRecord, Fields
from ptune_scale.superglue.task import FewShot, SuperglueTask
from ptune_scale.task.answers.span import Span
from ptune_scale.task.record import Record


def _read(fields: Fields) -> Iterator[tuple[str, dict[str, str], Fields]]:
    """The question of one JSON object; asterisks mark the pronoun in ``marked_text``."""
    target = fields.nested("target")
    pronoun, span = target.text("span2_text"), target.text("span1_text")
    position = target.integer("span2_index")
    words, position = _locate(fields.text("text").split(), pronoun, position)
    if not _letters(span) <= _letters(" ".join(words)):
        raise BadRecord(f"'target.span1_text' {span!r} does not occur in 'text'")
    words[position] = f"*{words[position]}*"
    texts = {"marked_text": " ".join(words), "pronoun": pronoun, "span": span}
    yield str(fields.integer("idx")), texts, fields


def _locate(words: list[str], pronoun: str, position: int) -> tuple[list[str], int]:
    """The words with the pronoun as one of them, and its place among them.

    Some of the published positions are one off, and some pronouns have punctuation attached; both
    are set right, as in PET.
    """
    for place in (position, position - 1, position + 1):
        if 0 <= place < len(words) and words[place] == pronoun:
            return words, place
    if 0 <= position < len(words) and words[position].startswith(pronoun):
        head, tail = words[position][: len(pronoun)], words[position][len(pronoun) :]
        return [*words[:position], head, tail, *words[position + 1 :]], position
    raise BadRecord(f"'target.span2_text' {pronoun!r} is not word {position} of 'text'")


def _letters(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower()))


def true_only(records: Sequence[Record]) -> list[Record]:
    """Only of a pronoun that refers to the phrase is the right answer known."""
    return [record for record in records if record.answer == "True"]


_ASKED = "pronoun '*{pronoun}*' refers to [Y]."

TASK = SuperglueTask(
    name="WSC",
    labels={"False": False, "True": True},
    answer=Span("span"),
    ptuning="[P] {marked_text...} [P] " + _ASKED,
    behind="{marked_text...} pronoun '*{pronoun}*' refers to [P] [Y].",
    no_anchors="[P] {marked_text...} [P] {pronoun} [P] [Y].",
    # PET's three.
    manual=(
        "{marked_text...} The " + _ASKED,
        "{marked_text...} In the previous sentence, the " + _ASKED,
        "{marked_text...} Question: In the passage above, "
        "what does the pronoun '*{pronoun}*' refer to? Answer: [Y].",
    ),
    reference={
        1: "{marked_text...}|[P]|pronoun '*|{pronoun}|*' refers to|[Y].",
        2: "[P]|{marked_text...}|[P]|pronoun '*|{pronoun}|*' refers to|[Y].",
    },
    classify=("{marked_text...} [SEP] {span}",),
    few_shot=FewShot(max_length=128, max_steps=3500, encoder_lr=1e-4, num_slots=2),
    read=_read,
    learn=true_only,
)
