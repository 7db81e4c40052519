"""An open word or phrase, ranked among candidates.

Words of one token are ranked by one forward pass among all candidates at once. Phrases are trained
to their end token, and the candidates' log-probabilities, end token included, are compared.

Shapes: N rows, K targets in a row, C sets of candidates, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, ClassVar

import torch
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import BoundAnswer, Prediction, Purpose, Question
from ptune_scale.task.answers.phrases import BoundPhrases
from ptune_scale.task.ask import Asker
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_ANSWER, Batch, Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.objective import Objective, Vocabulary, cross_entropy
from ptune_scale.task.record import Record


@dataclass(frozen=True)
class Ranked:
    """The answer is a word, or a phrase, which is ranked among candidates.

    Attributes:
        sets: by name, the candidates; None for the model's whole vocabulary. The first set is the
            one whose best is predicted and whose ranks decide.
        one_token: candidates and answers are single tokens that begin a word, as in LAMA; others
            are left out by whoever made the task.

    Raises:
        UserError: there is no set, or an empty one.
    """

    sets: Mapping[str, tuple[str, ...] | None]
    one_token: bool = False
    kind: ClassVar[str] = "candidates"
    reported: ClassVar[tuple[str, ...]] = ("p_at_1", "p_at_10", "mrr")
    metrics: ClassVar[tuple[str, ...]] = (
        "p_at_1",
        "p_at_10",
        "mrr",
        "accuracy",
        "exact_match",
        "token_f1",
    )

    def __post_init__(self) -> None:
        if not self.sets or any(words is not None and not words for words in self.sets.values()):
            raise UserError("candidates: the list is empty")

    @property
    def first(self) -> str:
        """Name of the set that decides."""
        return next(iter(self.sets))

    def check(self, record: Record) -> None:
        candidates = self.sets[self.first]
        if candidates is not None and record.answer not in candidates:
            raise UserError(
                f"{record.place}: the answer {record.answer!r} is none "
                f"of the {len(candidates)} candidates; add it to them"
            )

    def expected(self, record: Record) -> str:
        return record.answer or ""

    def bind(self, filler: Filler, task: int) -> "BoundAnswer":
        words = [word for candidates in self.sets.values() for word in candidates or ()]
        if self.one_token or all(
            one_token(word, filler, filler.begins_word) is not None for word in words
        ):
            return BoundRanked(self, filler, task)
        return BoundPhrases(self.first, self.sets[self.first], filler, task)


class BoundRanked:
    """Words of one token: one row, one target."""

    group_size = 1

    def __init__(self, answer: Ranked, filler: Filler, task: int) -> None:
        self.answer = answer
        self.filler = filler
        self.task = task
        # Spelled alike, so that one list of candidates serves all tasks of a batch.
        self.begins_word = answer.one_token or filler.begins_word
        self.key: tuple[Any, ...] = ("ranked", tuple(answer.sets), self.begins_word)

    def token(self, word: str) -> int:
        """The token of a word, where the pattern has its target.

        Raises:
            UserError: it takes several.
        """
        token = one_token(word, self.filler, self.begins_word)
        if token is None:
            raise UserError(
                f"{self.filler.whose}: the answer {word!r} is not one token of the model; give "
                "candidates that the answers are among, or text answers"
            )
        return token

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        answer = NO_ANSWER if record.answer is None else self.token(record.answer)
        parts, cut = self.filler.fill(record, masks=self.filler.tokens.kind == "masked")
        row = self.filler.join(parts, [answer])
        return Question(
            record, (Example(self.task, row.ids, row.slots, row.targets, (answer,)),), cut
        )

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundRanked"]) -> "RankedPanel":
        return RankedPanel(bound)


class RankedPanel:
    """Tasks whose words are ranked among sets of the same names."""

    def __init__(self, bound: Mapping[int, BoundRanked]) -> None:
        self.bound = bound
        self.tokens = next(iter(bound.values())).filler.tokens

    @cached_property
    def candidates(self) -> Candidates:
        """All tasks' sets; training, which only needs the objective, does not wait for them."""
        some = next(iter(self.bound.values()))
        answers = {task: each.answer for task, each in self.bound.items()}
        return candidate_sets(answers, some.filler, some.begins_word)

    @property
    def objective(self) -> Objective:
        """Cross-entropy of the right word over the whole vocabulary."""
        return cross_entropy

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        return self.ranked(asker, [question.rows[0] for question in questions])[0]

    def ranked(
        self, asker: Asker, rows: Sequence[Example], readings: Sequence[tuple[int, str]] = ()
    ) -> list[list[Prediction]]:
        """The best candidate of each row and the ranks of its answer; one pass for all readings.

        Args:
            readings: which of a row's targets is read, and the set whose best is the answer; the
                first of both if there are none.

        Returns:
            of each reading, the rows' predictions.
        """
        readings = tuple(readings) or ((0, self.candidates.names[0]),)
        question = BestCandidates(self.candidates, readings)
        shape = (len(readings), len(self.candidates.names) + 2)

        def ask(batch: Batch) -> Sequence[Tensor]:
            return list(asker.model.ask(batch, asker.prompts, question, shape, torch.float64))

        found = list(zip(rows, asker.in_batches(rows, ask), strict=True))
        return [
            [self.prediction(each[place], row.answers[target] != NO_ANSWER) for row, each in found]
            for place, (target, _) in enumerate(readings)
        ]

    def prediction(self, found: Tensor, known: bool) -> Prediction:
        """The prediction of a reading, (C + 2,); ``known`` says whether an answer is expected."""
        *ranks, probability, token = found.tolist()
        by_set = {name: int(r) for name, r in zip(self.candidates.names, ranks, strict=True)}
        word = self.tokens.text(int(token))
        return Prediction(word, probability, ranks=by_set if known else None)


@dataclass(frozen=True)
class BestCandidates:
    """What predictions are made of, by reading, (N, readings, C + 2) fp64, from (N, K, W).

    Of each: the answer's rank in each set, and the probability and id of the best candidate.

    Attributes:
        readings: which of a row's targets is read, and the set whose best is the answer.
    """

    candidates: Candidates
    readings: tuple[tuple[int, str], ...]

    def of_tasks(self, tasks: Sequence[int]) -> "BestCandidates":
        """Those of some tasks, which are numbered anew."""
        return BestCandidates(self.candidates.of_tasks(tasks), self.readings)

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        answers = batch.answers.masked_fill(~batch.answered, NO_ANSWER)
        return self.read(vocabulary, logits, answers, batch.tasks)

    def read(
        self, vocabulary: Vocabulary, logits: Tensor, answers: Tensor, tasks: Tensor
    ) -> Tensor:
        """The same of answers and tasks that are given.

        Args:
            answers: (N, K) int64, NO_ANSWER where none is expected.
            tasks: (N,) int64, whose candidates.
        """
        ranks = vocabulary.ranks(logits, answers, tasks, self.candidates).double()
        found = []
        for target, name in self.readings:
            allowed = self.candidates.only(name, logits[:, target], tasks, vocabulary.start)
            probability, token = vocabulary.top(allowed, 1)
            found.append(torch.cat([ranks[:, target], probability, token], dim=-1))
        return torch.stack(found, dim=1)


def one_token(word: str, filler: Filler, begins_word: bool) -> int | None:
    """The one token that spells a word at the target, or None if it takes several."""
    if begins_word:
        return filler.tokens.word_token(word)
    ids = filler.spell(word)
    return ids[0] if len(ids) == 1 and ids[0] != filler.tokens.tokenizer.unk_token_id else None


def candidate_sets(
    answers: Mapping[int, Ranked], filler: Filler, begins_word: bool = True
) -> Candidates:
    """The sets of tasks, by their index in the job, as masks over the vocabulary."""
    tokens = filler.tokens
    common: dict[str, list[int] | None] = {}
    by_task: dict[str, list[list[int] | None]] = {}

    def ids(words: tuple[str, ...] | None) -> list[int] | None:
        if words is None:
            return None
        found = (one_token(word, filler, begins_word) for word in words)
        return sorted({token for token in found if token is not None})

    sets = next(iter(answers.values())).sets
    for name in sets:
        lists = {task: answer.sets[name] for task, answer in answers.items()}
        if len(set(lists.values())) == 1:
            common[name] = ids(next(iter(lists.values())))
        else:
            by_task[name] = [ids(lists.get(task, ())) for task in range(max(lists) + 1)]
    return Candidates(tokens.vocab_size, common, by_task, first=next(iter(sets)))
