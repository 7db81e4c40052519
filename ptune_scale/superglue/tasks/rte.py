"""RTE: does a text imply a hypothesis?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptune_scale.superglue import metrics
from ptune_scale.superglue.fields import Fields
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Record, Task, without_final_punctuation

LABELS = ("entailment", "not_entailment")
YES_NO = {"entailment": "Yes", "not_entailment": "No"}
TRUE_FALSE = {"entailment": "true", "not_entailment": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Record):
    """A premise and a hypothesis."""

    premise: str
    hypothesis: str

    @property
    def claim(self) -> str:
        """The hypothesis without its final punctuation, to be asked about."""
        return without_final_punctuation(self.hypothesis)


def read(fields: Fields) -> Iterator[Pair]:
    """The pair of one JSON object."""
    yield Pair(
        idx=(fields.integer("idx"),),
        label=fields.label(LABELS),
        premise=fields.text("premise"),
        hypothesis=fields.text("hypothesis"),
    )


def score(records: Sequence[Pair], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy."""
    return metrics.accuracy(predictions, [record.label for record in records])


TASK = Task(
    name="RTE",
    labels=LABELS,
    answer="words",
    record=Pair,
    read=read,
    score=score,
    patterns={
        "ptuning": Pattern.parse("{premise...} Question: {claim}? [P] Answer: [Y].", YES_NO),
        "no_anchors": Pattern.parse("{premise...} [P] {claim}? [P] [Y].", YES_NO),
        # PET's five.
        "manual_0": Pattern.parse('"{claim}"? [SEP] [Y], "{premise...}"', YES_NO),
        "manual_1": Pattern.parse("{claim}? [SEP] [Y], {premise...}", YES_NO),
        "manual_2": Pattern.parse('"{claim}"? [SEP] [Y]. "{premise...}"', YES_NO),
        "manual_3": Pattern.parse("{claim}? [SEP] [Y]. {premise...}", YES_NO),
        "manual_4": Pattern.parse(
            "{premise...} question: {hypothesis} True or False? answer: [Y]", TRUE_FALSE
        ),
        # Those of Liu et al. 2021, table 6.
        "manual_5": Pattern.parse("Does {premise...} agree with {claim}? [Y].", YES_NO),
        "manual_6": Pattern.parse("Does {claim} agree with {premise...}? [Y].", YES_NO),
        "manual_7": Pattern.parse(
            "Premise: {premise...} Hypothesis: {hypothesis} Answer: [Y].", YES_NO
        ),
        "manual_8": Pattern.parse(
            "{premise...} question: {claim}. true or false? answer: [Y].", TRUE_FALSE
        ),
    },
    classify=(Pattern.untargeted("{premise...} [SEP] {hypothesis}"),),
    reference_patterns={
        1: Pattern.reference("{premise...}|Question:|{claim...}|?|[P]|Answer:|[Y]|.", YES_NO),
    },
)
