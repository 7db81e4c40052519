"""BoolQ: is the answer to a question about a passage yes or no?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptune_scale.superglue import metrics
from ptune_scale.superglue.fields import Fields
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Record, Task

LABELS = ("False", "True")
YES_NO = {"False": "No", "True": "Yes"}
TRUE_FALSE = {"False": "false", "True": "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Record):
    """A passage and a question about it, without question mark."""

    passage: str
    question: str


def read(fields: Fields) -> Iterator[Question]:
    """The question of one JSON object."""
    yield Question(
        idx=(fields.integer("idx"),),
        label=fields.label((False, True)),
        passage=fields.text("passage"),
        question=fields.text("question"),
    )


def score(records: Sequence[Question], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy."""
    return metrics.accuracy(predictions, [record.label for record in records])


_ANSWER = "{passage...}. Question: {question}? Answer: [Y]."
_BASED_ON = "{passage...}. Based on the previous passage, {question}? [Y]."
_FOLLOWING = "Based on the following passage, {question}? [Y]. {passage...}"

TASK = Task(
    name="BoolQ",
    labels=LABELS,
    answer="words",
    record=Question,
    read=read,
    score=score,
    patterns={
        "ptuning": Pattern.parse("{passage...}. [P] Question: {question}? Answer: [Y].", YES_NO),
        "no_anchors": Pattern.parse("{passage...}. [P] {question}? [P] [Y].", YES_NO),
        # PET's six: three texts with two pairs of words each.
        "manual_0": Pattern.parse(_ANSWER, YES_NO),
        "manual_1": Pattern.parse(_ANSWER, TRUE_FALSE),
        "manual_2": Pattern.parse(_BASED_ON, YES_NO),
        "manual_3": Pattern.parse(_BASED_ON, TRUE_FALSE),
        "manual_4": Pattern.parse(_FOLLOWING, YES_NO),
        "manual_5": Pattern.parse(_FOLLOWING, TRUE_FALSE),
    },
    classify=(Pattern.untargeted("{passage...} [SEP] {question}"),),
    reference_patterns={
        1: Pattern.reference(
            "{passage...}|.|[P]| Question: |{question...}|? Answer: |[Y]|.", YES_NO
        ),
    },
)
