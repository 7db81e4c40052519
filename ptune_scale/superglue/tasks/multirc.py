"""MultiRC: is this a right answer to a question about a passage? Several may be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptune_scale.superglue import metrics
from ptune_scale.superglue.fields import Fields
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Record, Task

LABELS = ("0", "1")
YES_NO = {"0": "No", "1": "Yes"}
TRUE_FALSE = {"0": "False", "1": "True"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Record):
    """One proposed answer; ``idx`` is its passage's, its question's and its own number."""

    passage: str
    question: str
    answer: str


def read(fields: Fields) -> Iterator[Candidate]:
    """The answers of all questions of one passage."""
    passage = fields.nested("passage")
    text = passage.text("text")
    for question in passage.each("questions"):
        for answer in question.each("answers"):
            yield Candidate(
                idx=(fields.integer("idx"), question.integer("idx"), answer.integer("idx")),
                label=answer.label((0, 1)),
                passage=text,
                question=question.text("question"),
                answer=answer.text("text", may_be_empty=True),
            )


def score(records: Sequence[Candidate], predictions: Sequence[int]) -> dict[str, float]:
    """Exact match by question, F1 over answers, and accuracy."""
    labels = [record.label for record in records]
    return metrics.multirc(predictions, labels, [record.idx[:2] for record in records])


TASK = Task(
    name="MultiRC",
    labels=LABELS,
    answer="words",
    record=Candidate,
    read=read,
    score=score,
    deciding=("accuracy", "f1a"),
    patterns={
        "ptuning": Pattern.parse(
            "{passage...}. Question: {question}? Is it {answer}? [P] [Y].", YES_NO
        ),
        "no_anchors": Pattern.parse("{passage...}. [P] {question}? [P] {answer}? [P] [Y].", YES_NO),
        # PET's four.
        "manual_0": Pattern.parse(
            "{passage...}. Question: {question}? Is it {answer}? [Y].", YES_NO
        ),
        "manual_1": Pattern.parse(
            '{passage...}. Question: {question}? Is the correct answer "{answer}"? [Y].', YES_NO
        ),
        "manual_2": Pattern.parse(
            "{passage...}. Based on the previous passage, {question}? "
            'Is "{answer}" a correct answer? [Y].',
            YES_NO,
        ),
        "manual_3": Pattern.parse("{passage...} {question} - [ [Y] ] {answer}", TRUE_FALSE),
    },
    classify=(Pattern.untargeted("{passage...} [SEP] {question} [SEP] {answer}"),),
    reference_patterns={
        1: Pattern.reference(
            "{passage...}|. Question: |{question}|? Is it |{answer}|?|[P]|[Y]|.", YES_NO
        ),
    },
)
