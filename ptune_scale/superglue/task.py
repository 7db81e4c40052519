"""What a SuperGLUE task states about itself: data, and a reader of its files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ptune_scale.errors import UserError
from ptune_scale.superglue.fields import Fields
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.pattern import Pattern, SpellingName
from ptune_scale.task.record import Record
from ptune_scale.task.task import Wording

Reader = Callable[[Fields], Iterable[tuple[str, dict[str, str], Fields]]]
"""Of a JSON object, each record's id, its texts, and the object that has its label."""


@dataclass(frozen=True)
class FewShot:
    """Settings of the published scripts for 32 examples (github.com/THUDM/P-tuning, PT-Fewshot).

    The paper names 3,500 steps for all tasks; the scripts take 250 for three of them.

    Attributes:
        max_length: most tokens of a row.
        max_steps: most optimizer steps; early stopping usually ends the run before.
        encoder_lr: peak learning rate of the prompt encoder.
        num_slots: prompt slots, which is also the number of the published pattern.
        warmup_steps: steps of linear warm-up, before linear decay to zero at ``max_steps``.
    """

    max_length: int
    max_steps: int
    encoder_lr: float
    num_slots: int = 1
    warmup_steps: int = 0


@dataclass(frozen=True)
class SuperglueTask:
    """One task: how to read it, ask it, train for it and score it.

    Attributes:
        name: its directory in SuperGLUE and FewGLUE.
        labels: by name, what stands for the label in the files.
        answer: of the patterns that are given without another one.
        ptuning, no_anchors: patterns with prompt slots; the second has slots in the place of words.
        behind: one whose slots stand behind all texts, so that these are computed once; "" where
            ``ptuning`` is such a pattern.
        manual: hand-written patterns, without slots.
        reference: the published code's patterns, by their number of prompt slots.
        classify: what a classifier reads: one pattern where it tells the labels apart, else one for
            each choice, which it scores.
        few_shot: settings of the published scripts.
        read: the records of one JSON object.
        metrics: those that are reported.
        select_on: those that choose the best step; all of them must not fall.
        learn: what the protocol makes of the records to train on.
    """

    name: str
    labels: Mapping[str, bool | int | str]
    answer: Answer
    ptuning: str
    no_anchors: str
    manual: tuple[str | tuple[str, Answer], ...]
    reference: Mapping[int, str]
    classify: tuple[str, ...]
    few_shot: FewShot
    read: Reader
    behind: str = ""
    metrics: tuple[str, ...] = ("accuracy",)
    select_on: tuple[str, ...] = ("accuracy",)
    learn: Callable[[Sequence[Record]], Iterable[Record]] = tuple

    def wordings(self) -> dict[str, Wording]:
        """All wordings by name: "ptuning", "behind", "no_anchors", "manual_0" and so on."""
        named = {f"manual_{number}": each for number, each in enumerate(self.manual)}
        return {
            name: Wording(
                Pattern.parse(each if isinstance(each, str) else each[0]),
                self.answer if isinstance(each, str) else each[1],
            )
            for name, each in {
                "ptuning": self.ptuning,
                "behind": self.behind or self.ptuning,
                "no_anchors": self.no_anchors,
                **named,
            }.items()
        }

    def wording(
        self, name: str = "ptuning", spelling: SpellingName = "correct", num_slots: int = 0
    ) -> Wording:
        """One of the task's wordings.

        Args:
            spelling: "reference" takes the published code's pattern, of which there is one for each
                number of slots, and its way of spelling.
            num_slots: slots in each run of them, in all with the reference spelling; 0 for what the
                pattern has, or the published scripts take.

        Raises:
            UserError: there is no such pattern.
        """
        known = self.wordings()
        if name not in known:
            raise UserError(f"{self.name} has no pattern {name!r}; it has {', '.join(known)}")
        if spelling == "correct":
            found = known[name]
            return (
                Wording(found.pattern.with_slots(num_slots), found.answer) if num_slots else found
            )
        if name != "ptuning":
            raise UserError(
                f"the reference spelling is defined for the pattern 'ptuning' only, not {name!r}"
            )
        number = num_slots or self.few_shot.num_slots
        if number not in self.reference:
            raise UserError(
                f"the published code has no pattern of {self.name} with {number} prompt slots; "
                f"it has {', '.join(map(str, self.reference))}"
            )
        return Wording(Pattern.reference(self.reference[number]), self.answer)
