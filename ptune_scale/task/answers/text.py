"""Free text: trained to its end token, generated until the model ends it by itself.

Shapes: K tokens of a text, its end token among them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Prediction, Purpose, Question
from ptune_scale.task.ask import Asker, Continuation
from ptune_scale.task.example import Batch, Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.objective import Objective, mean_cross_entropy
from ptune_scale.task.record import Record


@dataclass(frozen=True)
class Text:
    """The answer is any text.

    Attributes:
        max_tokens: most tokens of an answer, its end token not counted.
        stop: texts that end an answer where the model writes one of them.
        cut: shorten longer answers to learn from, instead of refusing them.

    Raises:
        UserError: no token may be written.
    """

    max_tokens: int = 32
    stop: tuple[str, ...] = ()
    cut: bool = False
    kind: ClassVar[str] = "text"
    reported: ClassVar[tuple[str, ...]] = ("exact_match", "token_f1")
    metrics: ClassVar[tuple[str, ...]] = (
        "exact_match",
        "token_f1",
        "rouge_l",
        "perplexity",
        "accuracy",
    )

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"text answers: max_tokens must be 1 or more, got {self.max_tokens}")
        if not all(self.stop):
            raise UserError("text answers: a stop text is empty")

    def check(self, record: Record) -> None:
        if not (record.answer or "").strip():
            raise UserError(f"{record.place}: the answer is empty")

    def expected(self, record: Record) -> str:
        return record.answer or ""

    def bind(self, filler: Filler, task: int) -> "BoundText":
        return BoundText(self, filler, task)


class BoundText:
    """See ``Text``."""

    key = ("text",)
    group_size = 1

    def __init__(self, answer: Text, filler: Filler, task: int) -> None:
        if filler.tokens.kind == "masked":
            raise UserError(
                f"{filler.whose}: text answers need a causal model, which writes one token after "
                "another; a masked model has to know their number before. Use label words, "
                "choices or candidates, or another model"
            )
        self.answer = answer
        self.filler = filler
        self.task = task

    def spelled(self, text: str) -> list[int]:
        """Token ids of an answer without its end token."""
        return self.filler.spell(text.strip())

    def check_lengths(self, records: Sequence[Record]) -> None:
        """Make sure that no answer is longer than the limit, unless longer ones are to be cut.

        Raises:
            UserError: some are; the message counts them and names the first.
        """
        known = [record for record in records if record.answer is not None]
        lengths = [len(self.spelled(record.answer or "")) for record in known]
        long = [i for i, length in enumerate(lengths) if length > self.answer.max_tokens]
        if long and not self.answer.cut:
            first, most = known[long[0]], self.answer.max_tokens
            raise UserError(
                f"{first.place}: the answer has {lengths[long[0]]} "
                f"tokens, more than max_tokens {most}, as {len(long)} of {len(known)} answers do; "
                f"the longest has {max(lengths)}. Raise it, or set cut = true to learn from the "
                "beginning of longer answers"
            )

    def count_cut(self, questions: Sequence[Question]) -> int:
        """How many of the questions to learn from have a cut answer."""
        return sum(q.rows[0].answers[-1] != self.filler.tokens.end_token for q in questions)

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        if purpose == "evaluate" or record.answer is None:
            room = self.answer.max_tokens
            parts, cut = self.filler.fill(record, target_room=room)
            row = self.filler.join(parts, [0])
            example = Example(self.task, row.ids, row.slots, row.targets, (0,))
        else:
            example, cut = self.answered_row(record)
        return Question(record, (example,), cut)

    def answered_row(self, record: Record) -> tuple[Example, int]:
        """The row that reads the right answer, and how many tokens were cut."""
        # Those that are longer were refused before, or are to be cut.
        tokens = self.spelled(record.answer or "")
        is_whole = len(tokens) <= self.answer.max_tokens
        # What was cut does not end there.
        answers = tokens[: self.answer.max_tokens]
        answers += [self.filler.tokens.end_token] * is_whole
        parts, cut = self.filler.fill(record, target_room=len(answers) - 1)
        row = self.filler.join(parts, answers)
        return Example(self.task, row.ids, row.slots, row.targets, tuple(answers)), cut

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundText"]) -> "TextPanel":
        return TextPanel(bound)


class TextPanel:
    """Tasks that are answered by texts."""

    def __init__(self, bound: Mapping[int, BoundText]) -> None:
        self.bound = bound
        self.tokens = next(iter(bound.values())).filler.tokens

    @property
    def objective(self) -> Objective:
        """Mean cross-entropy of an answer's tokens, its end token among them."""
        return mean_cross_entropy

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        found: list[Prediction | None] = [None] * len(questions)
        lengths = {self.bound[q.task].answer.max_tokens for q in questions}
        for length in sorted(lengths):
            places = [
                i for i, q in enumerate(questions) if self.bound[q.task].answer.max_tokens == length
            ]
            written = self._generate(asker, [questions[i].rows[0] for i in places], length)
            for place, continuation in zip(places, written, strict=True):
                found[place] = self._prediction(questions[place], continuation)
        predictions = [prediction for prediction in found if prediction is not None]
        return self._with_likelihoods(asker, questions, predictions)

    def _generate(
        self, asker: Asker, rows: Sequence[Example], max_tokens: int
    ) -> list[Continuation]:
        def ask(batch: Batch) -> Sequence[Continuation]:
            return asker.model.generate(
                batch, asker.prompts, max_tokens=max_tokens, stop=(self.tokens.end_token,)
            )

        return asker.in_batches(rows, ask)

    def _prediction(self, question: Question, written: Continuation) -> Prediction:
        text = self.tokens.text_after(written.tokens)
        for stop in self.bound[question.task].answer.stop:
            text = text.split(stop, 1)[0]
        return Prediction(text.strip(), math.exp(written.log_probability), text=text)

    def _with_likelihoods(
        self, asker: Asker, questions: Sequence[Question], predictions: list[Prediction]
    ) -> list[Prediction]:
        """The predictions with the log-likelihoods of the right answers, where they are wanted."""
        known = [i for i, q in enumerate(questions) if q.record.answer is not None]
        if not asker.wants_likelihood or not known:
            return predictions
        rows = [self.bound[questions[i].task].answered_row(questions[i].record)[0] for i in known]
        for place, row, value in zip(known, rows, asker.read(rows), strict=True):
            predictions[place] = replace(
                predictions[place], log_likelihood=value, num_tokens=len(row.answers)
            )
        return predictions
