"""CB (CommitmentBank): does a text imply a hypothesis, contradict it, or neither?"""

from collections.abc import Sequence

from ptune_scale.superglue import metrics
from ptune_scale.superglue.entailment import Pair, pair_reader
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Task

LABELS = ("entailment", "contradiction", "neutral")
WORDS = {"contradiction": "No", "entailment": "Yes", "neutral": "Maybe"}
TRUTHS = {"contradiction": "false", "entailment": "true", "neutral": "neither"}


def score(records: Sequence[Pair], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy and macro-F1."""
    return metrics.accuracy_and_macro_f1(predictions, [record.label for record in records])


TASK = Task(
    name="CB",
    labels=LABELS,
    answer="words",
    record=Pair,
    read=pair_reader(LABELS),
    score=score,
    deciding=("accuracy", "f1_macro"),
    patterns={
        "ptuning": Pattern.parse("{premise...} [SEP] {claim}? [P] answer: [Y]", WORDS),
        "no_anchors": Pattern.parse("{premise...} [P] {claim}? [P] [Y]", WORDS),
        # PET's five; the last is the only one that ends in its target.
        "manual_0": Pattern.parse('"{claim}"? [SEP] [Y], "{premise...}"', WORDS),
        "manual_1": Pattern.parse("{claim}? [SEP] [Y], {premise...}", WORDS),
        "manual_2": Pattern.parse('"{claim}"? [SEP] [Y]. "{premise...}"', WORDS),
        "manual_3": Pattern.parse("{claim}? [SEP] [Y]. {premise...}", WORDS),
        "manual_4": Pattern.parse(
            "{premise...} question: {hypothesis} true, false or neither? answer: [Y]", TRUTHS
        ),
    },
    classify=(Pattern.untargeted("{premise...} [SEP] {hypothesis}"),),
    reference_patterns={
        1: Pattern.reference("{premise...}|[SEP]|{hypothesis}|?|[P]| answer: |[Y]", WORDS),
    },
)
