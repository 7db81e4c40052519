"""Choices: texts of the record itself, two or more, of which one is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Prediction, Question
from ptune_scale.task.answers.options import RowPerOption, option_scores
from ptune_scale.task.ask import Asker, probabilities_of
from ptune_scale.task.example import NO_ANSWER, Batch
from ptune_scale.task.fill import Filler
from ptune_scale.task.filters import check_filters, field_name, field_text
from ptune_scale.task.objective import Objective, Vocabulary, mean_cross_entropy
from ptune_scale.task.record import Record

_MARGIN = 1.0


@dataclass(frozen=True)
class Choices:
    """The answer is one of some fields' texts.

    A record names the right one by its place (from 0), by the field, or by the text itself. What is
    predicted, and expected, is the name in ``names``.

    Attributes:
        fields: whose texts compete, each with its filters, as in a pattern.
        names: what each is called in results; the fields themselves if empty.
    """

    fields: tuple[str, ...]
    names: tuple[str, ...] = ()
    kind: ClassVar[str] = "choices"
    reported: ClassVar[tuple[str, ...]] = ("accuracy",)
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __post_init__(self) -> None:
        if len(self.fields) < 2 or len(set(self.fields)) < len(self.fields):
            raise UserError(f"choices {list(self.fields)}: name two or more different fields")
        if not self.names:
            object.__setattr__(self, "names", tuple(map(field_name, self.fields)))
        if len(self.names) != len(self.fields) or len(set(self.names)) < len(self.names):
            raise UserError(
                f"choices {list(self.fields)}: names {list(self.names)} should be as many, and all "
                "different"
            )
        for field in self.fields:
            check_filters(field)

    def place(self, record: Record) -> int:
        """Index of the right choice.

        Raises:
            UserError: the record's answer names none.
        """
        answer = (record.answer or "").strip()
        columns = [field_name(field) for field in self.fields]
        texts = [record.fields.get(name, "").strip() for name in columns]
        if answer.isdecimal() and int(answer) < len(self.fields):
            place = int(answer)
            if answer in texts and texts[place] != answer:
                raise UserError(
                    f"{record.place}: the answer {answer!r} is the "
                    f"number of one choice and the text of another; write the field's name"
                )
            return place
        for known in (self.names, self.fields, columns, texts):
            if answer in known:
                return list(known).index(answer)
        raise UserError(
            f"{record.place}: the answer {record.answer!r} is no choice; "
            f"give a number from 0 to {len(self.fields) - 1}, {' or '.join(self.fields)}, or the "
            "text itself"
        )

    def texts(self, record: Record) -> list[str]:
        """What competes.

        Raises:
            UserError: a text is empty or missing.
        """
        empty = [
            field
            for field in self.fields
            if field_name(field) not in record.fields
            or not field_text(field, record.fields).strip()
        ]
        if empty:
            raise UserError(f"{record.place}: choice {', '.join(empty)} is empty or missing")
        return [field_text(field, record.fields).strip() for field in self.fields]

    def check(self, record: Record) -> None:
        self.texts(record)
        self.place(record)

    def expected(self, record: Record) -> str:
        return self.names[self.place(record)]

    def bind(self, filler: Filler, task: int) -> "BoundChoices":
        return BoundChoices(self, filler, task)


class BoundChoices(RowPerOption):
    """See ``Choices``."""

    def __init__(self, answer: Choices, filler: Filler, task: int) -> None:
        super().__init__(filler, task, len(answer.fields))
        self.answer = answer
        self.key = ("choices", self.group_size)

    def options(self, record: Record) -> Sequence[str]:
        return self.answer.texts(record)

    def label(self, record: Record) -> int:
        return NO_ANSWER if record.answer is None else self.answer.place(record)

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundChoices"]) -> "ChoicePanel":
        return ChoicePanel(bound)


class ChoicePanel:
    """Tasks with as many choices."""

    def __init__(self, bound: Mapping[int, BoundChoices]) -> None:
        self.bound = bound

    @property
    def objective(self) -> Objective:
        """A margin between the right choice and each wrong one."""
        return choice_margin

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        shares = probabilities_of(option_scores(questions, self.bound, asker))
        found = []
        for question, share in zip(questions, shares.tolist(), strict=True):
            names = self.bound[question.task].answer.names
            best = max(range(len(names)), key=share.__getitem__)
            scores = dict(zip(names, share, strict=True))
            found.append(Prediction(names[best], share[best], scores))
        return found


def choice_margin(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Hinge loss between the right choice and each wrong one, of their mean cross-entropies, (N,).

    The published code takes these means over all choices of the batch together; here each question
    has its own, so that its loss does not depend on what else is in the batch.
    """
    losses = mean_cross_entropy(vocabulary, logits, batch).view(-1, batch.group_size)
    right = batch.labels.view(-1, batch.group_size)[:, :1]
    margin = (_MARGIN + (losses.gather(1, right) - losses)).relu()
    wrong = margin.scatter(1, right, 0.0).sum(1, keepdim=True) / (batch.group_size - 1)
    return wrong.expand(-1, batch.group_size).flatten()
