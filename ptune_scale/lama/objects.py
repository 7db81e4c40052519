"""Objects of any length: words of one token are ranked, whole phrases are written to their end.

Shapes: N rows, K tokens of an object, its end token among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Prediction, Purpose, Question
from ptune_scale.task.answers.ranked import BoundRanked, Ranked, RankedPanel
from ptune_scale.task.answers.text import BoundText, Text, TextPanel
from ptune_scale.task.ask import Asker
from ptune_scale.task.example import NO_ANSWER
from ptune_scale.task.fill import Filler
from ptune_scale.task.objective import Objective, WeightedCrossEntropy
from ptune_scale.task.record import Record


@dataclass(frozen=True)
class Objects:
    """The answer is the object of a fact, of one token or several.

    It is trained to its end token, and predicted as it is written. An object of one token is ranked
    too, by the first token alone, as the paper does: P@1 is measured on those as it is without the
    others.

    Attributes:
        ranked: what one-token objects are ranked among.
        max_tokens: most tokens of an object.
        stop: texts that end an object, for prompts that were not trained to the end token.
        first_weight: weight of the first token in the loss, where each of the others has 1; the
            weights of an object add up to one.
    """

    ranked: Ranked
    max_tokens: int
    stop: tuple[str, ...] = ()
    first_weight: float = 4.0
    kind: ClassVar[str] = "text"
    reported: ClassVar[tuple[str, ...]] = ("exact_match",)
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "token_f1", "accuracy")

    @property
    def text(self) -> Text:
        """The same answers as texts: how a tuned prompt is used."""
        return Text(self.max_tokens, self.stop)

    def check(self, record: Record) -> None:
        self.text.check(record)

    def expected(self, record: Record) -> str:
        return self.text.expected(record)

    def bind(self, filler: Filler, task: int) -> "BoundObjects":
        return BoundObjects(self, filler, task)


class BoundObjects:
    """See ``Objects``."""

    group_size = 1

    def __init__(self, answer: Objects, filler: Filler, task: int) -> None:
        if filler.tokens.kind == "masked":
            raise UserError(
                "--objects all needs a causal model, which writes one token after another; a "
                "masked one has to know their number before. Leave it out, or choose another model"
            )
        self.answer = answer
        self.ranked = BoundRanked(answer.ranked, filler, task)
        self.text = BoundText(answer.text, filler, task)
        self.key = ("objects", tuple(answer.ranked.sets), answer.first_weight)

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        question = self.text.question(record, purpose, chance)
        if purpose == "train":
            return question
        token = None if record.answer is None else self.text.filler.tokens.word_token(record.answer)
        [row] = question.rows
        answers = (NO_ANSWER if token is None else token,)
        return replace(question, rows=(replace(row, answers=answers),))

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundObjects"]) -> "ObjectsPanel":
        return ObjectsPanel(bound)


class ObjectsPanel:
    """Relations whose objects are of any length."""

    def __init__(self, bound: Mapping[int, BoundObjects]) -> None:
        self.ranked = RankedPanel({task: each.ranked for task, each in bound.items()})
        self.texts = TextPanel({task: each.text for task, each in bound.items()})
        self.first_weight = next(iter(bound.values())).answer.first_weight

    @property
    def objective(self) -> Objective:
        """Weighted mean of the cross-entropy of an object's tokens, its end token among them."""
        return WeightedCrossEntropy(self.first_weight)

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        predictions = self.texts.predict(asker, questions)
        single = [i for i, q in enumerate(questions) if q.rows[0].answers[0] != NO_ANSWER]
        [ranked] = self.ranked.ranked(asker, [questions[i].rows[0] for i in single])
        for place, found in zip(single, ranked, strict=True):
            predictions[place] = replace(predictions[place], ranks=found.ranks)
        return predictions
