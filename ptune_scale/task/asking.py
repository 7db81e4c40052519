"""Tasks bound to a model: their records as questions, and panels of tasks that share batches."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from random import Random
from typing import TypeVar

from ptune_scale.task.answers.answer import (
    Answer,
    BoundAnswer,
    Prediction,
    Purpose,
    Question,
)
from ptune_scale.task.ask import Asker
from ptune_scale.task.example import Batch, collate
from ptune_scale.task.fill import Filler
from ptune_scale.task.metrics import Outcome, find_metric
from ptune_scale.task.objective import Objective
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task, Wording
from ptune_scale.task.tokenization import Tokenization

Item = TypeVar("Item")


class AskedTask:
    """A task, in one of its wordings, for one model.

    Args:
        index: row of the prompt matrix.
        context_length: most tokens that the model takes; None for no limit.
        seed: for what a kind of answer leaves to chance.
        beginning: token ids that every row begins with.

    Raises:
        UserError: the wording does not fit the model.
    """

    def __init__(
        self,
        task: Task,
        tokens: Tokenization,
        index: int,
        *,
        wording: Wording | None = None,
        context_length: int | None = None,
        seed: int = 34,
        beginning: Sequence[int] = (),
    ) -> None:
        self.task = task
        self.index = index
        self.wording = wording or task.wording
        self.seed = seed
        limits = [limit for limit in (task.max_length, context_length) if limit]
        self.max_length = min(limits) if limits else None
        self.filler = Filler(
            self.wording.pattern,
            tokens,
            whose=task.name,
            max_length=self.max_length,
            beginning=beginning,
        )
        self.bound: BoundAnswer = self.wording.answer.bind(self.filler, index)

    @property
    def num_slots(self) -> int:
        """Prompt slots of the pattern."""
        return self.filler.pattern.num_slots

    def questions(self, records: Iterable[Record], purpose: Purpose) -> list[Question]:
        """Records as rows, in order.

        Raises:
            UserError: a record does not fit the length, or its answer is none of this kind.
        """
        chance = Random(self.seed)
        return [self.bound.question(record, purpose, chance) for record in records]

    @cached_property
    def learn(self) -> list[Question]:
        """Questions to train on."""
        return self.questions(self.task.splits.learned, "train")

    @cached_property
    def dev(self) -> list[Question]:
        """Questions to choose the best prompt on."""
        return self.questions(self.task.splits.dev, "evaluate")

    @cached_property
    def test(self) -> list[Question]:
        """Questions that are reported."""
        return self.questions(self.task.splits.test, "evaluate")

    def outcomes(
        self, questions: Sequence[Question], predictions: Sequence[Prediction]
    ) -> list[Outcome]:
        """What was expected beside what was predicted, to be scored."""
        records = [question.record for question in questions]
        return outcomes_of(self.wording.answer, records, predictions)

    def measured(
        self,
        metrics: Sequence[str],
        questions: Sequence[Question],
        predictions: Sequence[Prediction],
    ) -> dict[str, float]:
        """Metrics of predictions, by their names in ``task.metrics``."""
        outcomes = self.outcomes(questions, predictions)
        return {name: find_metric(name).compute(outcomes) for name in metrics}


GROUP = "group"
"""The field that says which records are scored together, for metrics over groups."""


def outcomes_of(
    answer: Answer, records: Sequence[Record], predictions: Sequence[Prediction]
) -> list[Outcome]:
    """What was expected of records beside what was predicted, to be scored."""
    first = next(iter(getattr(answer, "sets", {})), None)
    return [
        Outcome(
            expected=answer.expected(record),
            answer=found.answer,
            scores=found.scores,
            rank=None if found.ranks is None else found.ranks.get(first or ""),
            log_likelihood=found.log_likelihood,
            num_tokens=found.num_tokens,
            group=record.fields.get(GROUP, ""),
        )
        for record, found in zip(records, predictions, strict=True)
    ]


class Panels:
    """The tasks of a job, in panels of those that share batches."""

    def __init__(self, tasks: Sequence[AskedTask]) -> None:
        self.tasks = {task.index: task for task in tasks}
        by_key: dict[tuple, dict[int, BoundAnswer]] = {}
        for task in tasks:
            by_key.setdefault(task.bound.key, {})[task.index] = task.bound
        self._panels = {
            key: next(iter(bound.values())).panel(bound) for key, bound in by_key.items()
        }

    def _key(self, question: Question) -> tuple:
        return self.tasks[question.task].bound.key

    def batches(self, questions: Sequence[Question]) -> list[tuple[Batch, Objective]]:
        """A step's questions as batches, one a panel, each with what is minimized on it."""
        made: list[tuple[Batch, Objective]] = []
        for key, places in _places(questions, self._key).items():
            part = [questions[i] for i in places]
            rows = [row for question in part for row in question.rows]
            batch = collate(rows, group_size=len(part[0].rows))
            made.append((batch, self._panels[key].objective))
        return made

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        """Answers to questions of any of the tasks, in their order."""
        found: dict[int, Prediction] = {}
        for key, places in _places(questions, self._key).items():
            part = [questions[i] for i in places]
            found |= zip(places, self._panels[key].predict(asker, part), strict=True)
        return [found[i] for i in range(len(questions))]


def _places(
    items: Sequence[Question], key: Callable[[Question], tuple]
) -> Mapping[tuple, list[int]]:
    """The places of items of each key."""
    places: dict[tuple, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(key(item), []).append(place)
    return places
