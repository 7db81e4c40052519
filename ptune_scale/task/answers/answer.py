"""What every kind of answer has: how it becomes rows, what is minimized, and how it is predicted.

A kind is a frozen dataclass of plain data. Bound to a pattern and a tokenizer it makes questions of
records. Tasks whose bound answers have the same key share batches, in training and in evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Literal, Protocol

from ptune_scale.task.ask import Asker
from ptune_scale.task.example import Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.objective import Objective
from ptune_scale.task.record import Record

Purpose = Literal["train", "evaluate"]


@dataclass(frozen=True, slots=True)
class Question:
    """A record as rows for a model.

    Attributes:
        record: what is asked about.
        rows: one, or one for each option.
        cut: how many tokens of the record's texts were left out to fit the length.
    """

    record: Record
    rows: tuple[Example, ...]
    cut: int = 0

    @property
    def task(self) -> int:
        """Index of the task in the job."""
        return self.rows[0].task

    @property
    def num_tokens(self) -> int:
        """Tokens of its longest row."""
        return max(len(row.ids) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answers to a record.

    Attributes:
        answer: a label, an option, a word or a text.
        score: its probability: among the options where some compete, else over all that the
            model could have said.
        scores: probability of each label or option, where some compete.
        ranks: by set of candidates, the rank of the expected answer, 1 is best.
        log_likelihood, num_tokens: of the expected answer, where they were asked for.
        text: what was written, where the answer was read off a text.
    """

    answer: str
    score: float
    scores: Mapping[str, float] | None = None
    ranks: Mapping[str, int] | None = None
    log_likelihood: float | None = None
    num_tokens: int | None = None
    text: str | None = None


class Answer(Protocol):
    """A kind of answer, as data.

    Attributes:
        kind: its name.
        metrics: those that make sense for it.
        reported: those that are reported by default; the first chooses the best prompt.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    reported: ClassVar[tuple[str, ...]]

    def bind(self, filler: Filler, task: int) -> "BoundAnswer":
        """Make it ready for a pattern, a tokenizer and a row of the prompt matrix.

        Raises:
            UserError: it does not fit the model or the pattern.
        """
        ...

    def check(self, record: Record) -> None:
        """Make sure that a labelled record can be learned from and scored.

        Raises:
            UserError: its answer is none of this kind; the message names file and line.
        """
        ...

    def expected(self, record: Record) -> str:
        """The right answer, as a prediction would give it."""
        ...


class BoundAnswer(Protocol):
    """A kind of answer with a pattern, for one model and one task of a job.

    Attributes:
        key: tasks of the same key share batches.
        group_size: rows of a question.
    """

    key: tuple[Any, ...]
    group_size: int

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        """The rows of a record.

        Args:
            chance: for what a kind leaves to chance; the same records get the same rows.

        Raises:
            UserError: the record does not fit.
        """
        ...

    @classmethod
    def panel(cls, bound: Mapping[int, Any]) -> "Panel":
        """The tasks of a key, asked together.

        Args:
            bound: of each task, by its index in the job.
        """
        ...


class Panel(Protocol):
    """Tasks that share batches."""

    @property
    def objective(self) -> Objective:
        """What is minimized: the loss of each row."""
        ...

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        """Answers to questions of these tasks, in their order."""
        ...
