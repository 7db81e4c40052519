"""RTE: does a text imply a hypothesis?"""

from collections.abc import Sequence

from ptune_scale.superglue import metrics
from ptune_scale.superglue.entailment import Pair, pair_reader
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Task

LABELS = ("entailment", "not_entailment")
YES_NO = {"entailment": "Yes", "not_entailment": "No"}
TRUE_FALSE = {"entailment": "true", "not_entailment": "false"}


def score(records: Sequence[Pair], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy."""
    return metrics.accuracy(predictions, [record.label for record in records])


TASK = Task(
    name="RTE",
    labels=LABELS,
    answer="words",
    record=Pair,
    read=pair_reader(LABELS),
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
