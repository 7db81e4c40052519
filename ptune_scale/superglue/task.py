"""What every SuperGLUE task states about itself."""

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ptune_scale.errors import UserError
from ptune_scale.superglue.fields import Fields
from ptune_scale.superglue.pattern import Layout, Pattern

Answer = Literal["words", "choices", "span"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One question to the model.

    Attributes:
        idx: the numbers that the data file identifies it by (passage, question, answer ...).
        label: index of the right label in the task's ``labels``, or None where it is not known.
    """

    idx: tuple[int, ...]
    label: int | None


@dataclass(frozen=True)
class Task:
    """One task: how to read, ask and score it.

    Attributes:
        name: its directory in SuperGLUE and FewGLUE.
        labels: names of the labels; predictions are indices into them.
        answer: what stands at the target: the one-token "words" of the labels, one of the
            record's "choices", or a "span" of its text.
        record: the class of its records; patterns name its attributes.
        read: the records of one JSON object.
        score: metrics of predictions (label indices; texts in ReCoRD), each between 0 and 1.
        deciding: the metrics that choose the best step; all of them must not fall.
        patterns: by name: "ptuning", "no_anchors" and hand-written ones, "manual_0" and so on.
        reference_patterns: the reference implementation's, by its pattern id, which is also the
            number of prompt slots in them.
        classify: what a classifier reads, without a target: one pattern where it tells the labels
            apart, else one for each choice, which it scores.
        options: the texts that the target may be, for "choices" and "span".
        training_records: what the protocol makes of the records to train on.
    """

    name: str
    labels: tuple[str, ...]
    answer: Answer
    record: type[Record]
    read: Callable[[Fields], Iterator[Record]]
    score: Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]
    deciding: tuple[str, ...] = ("accuracy",)
    patterns: Mapping[str, Pattern] = field(default_factory=dict)
    reference_patterns: Mapping[int, Pattern] = field(default_factory=dict)
    classify: tuple[Pattern, ...] = ()
    options: Callable[[Any], tuple[str, ...]] = lambda record: ()
    training_records: Callable[[Sequence[Any]], list[Any]] = list

    def pattern(
        self, name: str = "ptuning", *, layout: Layout = "correct", num_slots: int | None = None
    ) -> Pattern:
        """One of the task's patterns.

        Args:
            layout: "reference" takes the reference implementation's pattern, of which there is
                one for each number of slots, and its own tokenization.
            num_slots: slots in each run of them in the correct layout, in all in the reference's.

        Raises:
            UserError: the task is not tuned, or has no such pattern.
        """
        if not self.patterns:
            raise UserError(f"{self.name} is read but not tuned, as in the paper")
        if name not in self.patterns:
            raise UserError(
                f"{self.name} has no pattern {name!r}; it has {', '.join(self.patterns)}"
            )
        if layout == "correct":
            pattern = self.patterns[name]
            return pattern if num_slots is None else pattern.with_slots(num_slots)
        if name != "ptuning":
            raise UserError(
                f"the reference layout is defined for the pattern 'ptuning' only, not {name!r}"
            )
        number = min(self.reference_patterns) if num_slots is None else num_slots
        if number not in self.reference_patterns:
            known = ", ".join(map(str, self.reference_patterns))
            raise UserError(
                f"the reference layout of {self.name} has no pattern with {number} prompt slots; "
                f"it has {known}"
            )
        return self.reference_patterns[number]


def without_final_punctuation(text: str) -> str:
    """The text without the punctuation marks that it ends with, as PET prepares a clause."""
    return text.rstrip(string.punctuation)
