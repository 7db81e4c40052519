"""A span of the record's text, which the model is to write: yes if it writes the given one.

A masked model gets some masks more than the span has tokens, which should be padding: 0 to 3 by
chance to train, 1 to evaluate. A causal model reads the span to train; to evaluate it goes on by
itself, by as many tokens as the span has. (Few-shot protocol of github.com/THUDM/P-tuning; T5's
comparison: Raffel et al. 2020.)

Shapes: K tokens of a span.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Prediction, Purpose, Question
from ptune_scale.task.ask import Asker, with_answer
from ptune_scale.task.example import Batch, Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.objective import Objective, mean_cross_entropy
from ptune_scale.task.record import Record

_MOST_EXTRA_MASKS = 3


@dataclass(frozen=True)
class Span:
    """The answer is whether a phrase of the record is what the model writes.

    Attributes:
        field: the phrase.
        no, yes: names of the labels.
    """

    field: str
    no: str = "False"
    yes: str = "True"
    kind: ClassVar[str] = "span"
    reported: ClassVar[tuple[str, ...]] = ("accuracy",)
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def phrase(self, record: Record) -> str:
        """What should be written.

        Raises:
            UserError: the record lacks it.
        """
        if not record.fields.get(self.field):
            raise UserError(f"{record.place}: the phrase {self.field!r} is empty or missing")
        return record.fields[self.field]

    def check(self, record: Record) -> None:
        self.phrase(record)
        if record.answer not in (self.no, self.yes):
            raise UserError(
                f"{record.place}: the answer {record.answer!r} is "
                f"neither {self.no!r} nor {self.yes!r}"
            )

    def expected(self, record: Record) -> str:
        return record.answer or ""

    def bind(self, filler: Filler, task: int) -> "BoundSpan":
        return BoundSpan(self, filler, task)


class BoundSpan:
    """See ``Span``."""

    key = ("span",)
    group_size = 1

    def __init__(self, answer: Span, filler: Filler, task: int) -> None:
        self.answer = answer
        self.filler = filler
        self.task = task

    def spelled(self, record: Record) -> list[int]:
        """Token ids of the span."""
        return self.filler.spell(self.answer.phrase(record))

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        tokens = self.filler.tokens
        answers = self.spelled(record)
        masked = tokens.kind == "masked"
        if masked:
            extra = chance.randint(0, _MOST_EXTRA_MASKS) if purpose == "train" else 1
            answers = answers + [tokens.placeholder] * extra
        parts, cut = self.filler.fill(
            record,
            masks=len(answers) if masked else 0,
            target_room=0 if masked else len(answers) - 1,
        )
        if purpose == "evaluate" and not masked:
            answers = answers[:1]
        row = self.filler.join(parts, answers)
        example = Example(self.task, row.ids, row.slots, row.targets, tuple(answers))
        return Question(record, (example,), cut)

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundSpan"]) -> "SpanPanel":
        return SpanPanel(bound)


class SpanPanel:
    """Tasks that ask for spans."""

    def __init__(self, bound: Mapping[int, BoundSpan]) -> None:
        self.bound = bound
        self.filler = next(iter(bound.values())).filler

    @property
    def objective(self) -> Objective:
        """Mean cross-entropy of the tokens that should stand at a row's targets."""
        return mean_cross_entropy

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        rows = [question.rows[0] for question in questions]
        if self.filler.tokens.kind == "masked":
            written = _fill_masks(asker, rows)
        else:
            written = self._go_on(asker, questions)
        return [
            self._prediction(question, tokens)
            for question, tokens in zip(questions, written, strict=True)
        ]

    def _prediction(self, question: Question, tokens: Sequence[int]) -> Prediction:
        bound, padding = self.bound[question.task], self.filler.tokens.placeholder
        decode = self.filler.tokens.tokenizer.decode
        text = decode([token for token in tokens if token != padding])
        # Nothing contradicts an empty text, so the published code takes it for the phrase.
        found = refers(
            text,
            bound.answer.phrase(question.record),
            empty_refers=bound.filler.whole_pattern.spelling == "reference",
        )
        return Prediction(bound.answer.yes if found else bound.answer.no, 1.0, text=text)

    def _go_on(self, asker: Asker, questions: Sequence[Question]) -> list[list[int]]:
        """The tokens that a causal model goes on with, as many as the span has."""
        lengths = [len(self.bound[each.task].spelled(each.record)) for each in questions]
        written: list[list[int]] = [[] for _ in questions]
        for length in sorted(set(lengths)):
            places = [place for place, each in enumerate(lengths) if each == length]

            def ask(batch: Batch, length: int = length) -> Sequence[Any]:
                return asker.model.generate(batch, asker.prompts, max_tokens=length, stop=())

            found = asker.in_batches([questions[i].rows[0] for i in places], ask)
            for place, continuation in zip(places, found, strict=True):
                written[place] = list(continuation.tokens)
        return written


def _fill_masks(asker: Asker, rows: Sequence[Example]) -> list[list[int]]:
    """The tokens that the model fills each row's masks with, the surest first."""
    written: list[dict[int, int]] = [{} for _ in rows]
    still_open = dict(enumerate(rows))
    while still_open:
        numbers = list(still_open)
        found = asker.likeliest([still_open[number] for number in numbers])
        for number, (probabilities, tokens) in zip(numbers, found, strict=True):
            surest = int(probabilities.argmax())
            row = still_open.pop(number)
            token = int(tokens[surest])
            written[number][row.targets[surest]] = token
            rest = with_answer(row, surest, token)
            if rest.targets:
                still_open[number] = rest
    return [[tokens[place] for place in sorted(tokens)] for tokens in written]


def refers(decoded: str, phrase: str, *, empty_refers: bool = False) -> bool:
    """Whether a decoded text is the phrase: all words of one are in the other, letters only.

    Args:
        empty_refers: whether a text without any letter is taken for the phrase.
    """
    written, given = _letters(decoded), _letters(phrase)
    if not written:
        return empty_refers
    return written <= given or given <= written


def _letters(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower()))
