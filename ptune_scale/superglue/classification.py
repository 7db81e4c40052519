"""Labels told apart by a head of its own: no words are read, nothing is asked.

A masked model is read at its first token, a causal one at its last, which alone has seen all. One
row of a record has an output for each label; where a record has a row for each choice, each has one
output. Either way L numbers come of a record, and their softmax is what the model says.

Shapes: N rows, L labels, C outputs of a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptune_scale.task.answers.answer import Prediction, Purpose, Question
from ptune_scale.task.ask import Asker, probabilities_of
from ptune_scale.task.example import NO_ANSWER, NO_SLOT, Batch, Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.objective import Vocabulary
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record


@dataclass(frozen=True)
class Classes:
    """The answer is a label, which an output of the head stands for.

    Attributes:
        labels: their names, in the order of the outputs.
        patterns: what is read, without targets: one pattern, or one for each label, whose row has
            one output.
    """

    labels: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    kind: ClassVar[str] = "classes"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "em_by_group", "f1a")
    reported: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def outputs(self) -> int:
        """C, of the head."""
        return len(self.labels) if len(self.patterns) == 1 else 1

    def check(self, record: Record) -> None:
        """Labels were checked where records were read."""

    def expected(self, record: Record) -> str:
        return record.answer or ""

    def bind(self, filler: Filler, task: int) -> "BoundClasses":
        return BoundClasses(self, filler, task)


class BoundClasses:
    """See ``Classes``."""

    def __init__(self, answer: Classes, filler: Filler, task: int) -> None:
        self.answer = answer
        self.task = task
        self.key = ("classes", answer.outputs, len(answer.patterns))
        self.group_size = len(answer.patterns)
        self.fillers = [
            Filler(pattern, filler.tokens, whose=filler.whose, max_length=filler.max_length)
            for pattern in answer.patterns
        ]

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        label = NO_ANSWER
        if record.answer is not None:
            label = self.answer.labels.index(record.answer)
        rows, cuts = [], []
        for filler in self.fillers:
            parts, cut = filler.fill(record)
            cuts.append(cut)
            ids = filler.join(parts, []).ids
            place = 0 if filler.tokens.kind == "masked" else len(ids) - 1
            slots = (NO_SLOT,) * len(ids)
            rows.append(Example(self.task, ids, slots, (place,), (NO_ANSWER,), label))
        return Question(record, tuple(rows), max(cuts))

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundClasses"]) -> "ClassPanel":
        [one] = bound.values()  # a head belongs to one task
        return ClassPanel(one)


class ClassPanel:
    """A task whose labels a head tells apart."""

    def __init__(self, bound: BoundClasses) -> None:
        self.answer = bound.answer

    def objective(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the right label; each row of a record has the loss of the record."""
        scores = _outputs(vocabulary, logits, batch).reshape(-1, len(self.answer.labels))
        labels = batch.labels.view(-1, batch.group_size)[:, 0]
        losses = cross_entropy(scores, labels, reduction="none")
        return losses.repeat_interleave(batch.group_size)

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        rows = [row for question in questions for row in question.rows]
        shape = (self.answer.outputs,)

        def ask(batch: Batch) -> list[Tensor]:
            return list(asker.model.ask(batch, asker.prompts, _outputs, shape))

        outputs = torch.stack(asker.in_batches(rows, ask))
        found = []
        for share in probabilities_of(outputs.view(len(questions), -1)).tolist():
            scores = dict(zip(self.answer.labels, share, strict=True))
            best = max(scores, key=scores.__getitem__)
            found.append(Prediction(best, scores[best], scores))
        return found


def _outputs(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """What the head says of each row, (N, C) in fp32, from logits (N, 1, C)."""
    return logits[:, 0].float()
