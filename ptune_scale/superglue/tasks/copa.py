"""COPA: which of two events is the cause, or the effect, of another?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ptune_scale.superglue import metrics
from ptune_scale.superglue.fields import BadRecord, Fields
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.task import Record, Task, without_final_punctuation

LABELS = ("0", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Record):
    """A premise and two events, one of which is what ``question`` asks for."""

    premise: str
    choice1: str
    choice2: str
    question: Literal["cause", "effect"]

    @property
    def clause(self) -> str:
        """The premise as a clause that goes on."""
        return without_final_punctuation(self.premise)

    @property
    def option1(self) -> str:
        """The first event as a clause."""
        return _clause(self.choice1)

    @property
    def option2(self) -> str:
        """The second event as a clause."""
        return _clause(self.choice2)

    @property
    def joiner(self) -> str:
        """The word between the premise and the event."""
        return "because" if self.question == "cause" else "so"


def _clause(sentence: str) -> str:
    return without_final_punctuation(sentence[0].lower() + sentence[1:])


def read(fields: Fields) -> Iterator[Choice]:
    """The choice of one JSON object."""
    question = fields.text("question")
    if question not in ("cause", "effect"):
        raise BadRecord(f"'question' is {question!r}; it must be 'cause' or 'effect'")
    choice = Choice(
        idx=(fields.integer("idx"),),
        label=fields.label((0, 1)),
        premise=fields.text("premise"),
        choice1=fields.text("choice1"),
        choice2=fields.text("choice2"),
        question=question,
    )
    if not all(options(choice)):
        raise BadRecord("a choice has nothing but punctuation")
    yield choice


def options(record: Choice) -> tuple[str, str]:
    """The two clauses that may stand at the target."""
    return record.option1, record.option2


def with_mirrored(records: Sequence[Choice]) -> list[Choice]:
    """The records, and behind them each with its choices exchanged: 64 out of FewGLUE's 32."""
    return [*records, *map(_mirrored, records)]


def _mirrored(record: Choice) -> Choice:
    label = None if record.label is None else 1 - record.label
    return replace(record, choice1=record.choice2, choice2=record.choice1, label=label)


def score(records: Sequence[Choice], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy."""
    return metrics.accuracy(predictions, [record.label for record in records])


TASK = Task(
    name="COPA",
    labels=LABELS,
    answer="choices",
    record=Choice,
    read=read,
    score=score,
    options=options,
    training_records=with_mirrored,
    patterns={
        "ptuning": Pattern.parse("{option1} or {option2}? {clause...} {joiner} [P] [Y]."),
        "no_anchors": Pattern.parse("{option1} [P] {option2}? [P] {clause...} {joiner} [Y]."),
        # PET's two.
        "manual_0": Pattern.parse('"{option1}" or "{option2}"? {clause...} {joiner} [Y].'),
        "manual_1": Pattern.parse("{option1} or {option2}? {clause...} {joiner} [Y]."),
    },
    classify=(
        Pattern.untargeted("{premise...} [SEP] {question} [SEP] {choice1}"),
        Pattern.untargeted("{premise...} [SEP] {question} [SEP] {choice2}"),
    ),
    reference_patterns={
        1: Pattern.reference("{option1}|or|{option2}|?|{clause...}|{joiner}|[P]|[Y]|."),
    },
)
