"""Label words (a verbalizer): each label has a word or several, each of one token or several.

Where all words are single tokens, one forward pass of one row answers a record. Otherwise each word
has a row of its own. Either way a label's probability is the sum of its words', among all words of
all labels.

Shapes: N rows, K targets in a row, R tasks, L labels, W words of a label, G words of all labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import BoundAnswer, Prediction, Purpose, Question
from ptune_scale.task.answers.options import RowPerOption, option_scores
from ptune_scale.task.ask import Asker, probabilities_of
from ptune_scale.task.example import NO_ANSWER, Batch, Example
from ptune_scale.task.fill import Filler, content_free
from ptune_scale.task.objective import Objective, Vocabulary, log_likelihoods
from ptune_scale.task.record import Record

# The score of a word that is not there. Infinity would make the gradient of a sum undefined.
_NEVER = -1e9


@dataclass(frozen=True)
class Words:
    """The answer is a label, which words stand for.

    Attributes:
        words: by label, the words that stand for it.
        calibrate: divide each label's probability by that of a record which says nothing (Zhao et
            al. 2021, "Calibrate Before Use").

    Example:
        >>> Words({"positive": ("great", "good"), "negative": ("bad",)}).labels
        ('positive', 'negative')
    """

    words: Mapping[str, tuple[str, ...]]
    calibrate: bool = False
    kind: ClassVar[str] = "words"
    reported: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "macro_f1",
        "micro_f1",
        "mcc",
        "em_by_group",
        "f1a",
    )

    def __post_init__(self) -> None:
        if len(self.words) < 2:
            raise UserError(f"labels {list(self.words)}: two or more are needed")
        empty = [label for label, words in self.words.items() if not all(map(str.strip, words))]
        if empty or not all(self.words.values()):
            raise UserError(f"label {', '.join(empty or self.words)} has no word")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.words)

    def check(self, record: Record) -> None:
        if record.answer not in self.words:
            raise UserError(
                f"{record.place}: label {record.answer!r} has no word; "
                f"there are words for {', '.join(self.words)}"
            )

    def expected(self, record: Record) -> str:
        return record.answer or ""

    def bind(self, filler: Filler, task: int) -> "BoundAnswer":
        spelled = {
            (label, word): tuple(filler.spell(word))
            for label, words in self.words.items()
            for word in words
        }
        self._check_distinct(spelled, filler)
        if self.calibrate:
            self._check_calibrates(filler)
        if all(len(tokens) == 1 for tokens in spelled.values()):
            return BoundWords(self, filler, task)
        return BoundSpelledOut(self, filler, task)

    def _check_calibrates(self, filler: Filler) -> None:
        try:
            filler.fill(content_free(filler.pattern.names))
        except UserError as error:
            raise UserError(f"answers of {filler.whose} cannot be calibrated: {error}") from error

    def _check_distinct(
        self, spelled: Mapping[tuple[str, str], tuple[int, ...]], filler: Filler
    ) -> None:
        tokenizer = filler.tokens.tokenizer
        first: dict[tuple[int, ...], tuple[str, str]] = {}
        for (label, word), tokens in spelled.items():
            if tokenizer.unk_token_id in tokens:
                raise UserError(
                    f"label {label!r} of {filler.whose}: the word {word!r} is not in the "
                    "vocabulary of the model; choose another word"
                )
            other, other_word = first.setdefault(tokens, (label, word))
            if other != label:
                raise UserError(
                    f"labels {other!r} and {label!r} of {filler.whose}: their words "
                    f"{other_word!r} and {word!r} are the same tokens; choose other words"
                )


class _Labelled:
    """What both ways of asking for labels share."""

    answer: Words
    filler: Filler
    task: int

    def label(self, record: Record) -> int:
        """Index of the record's label, NO_ANSWER if it is not known."""
        if record.answer is None:
            return NO_ANSWER
        return self.answer.labels.index(record.answer)


def _predictions(
    bound: Mapping[int, Any],
    questions: Sequence[Question],
    scores: Sequence[Tensor],
    neutral: Mapping[int, Tensor],
) -> list[Prediction]:
    """Predictions from log-probabilities of labels, (L,) for each question."""
    found = []
    for question, score in zip(questions, scores, strict=True):
        labels = bound[question.task].answer.labels
        score = score.double()[: len(labels)]
        if question.task in neutral:
            score = score - neutral[question.task].double()[: len(labels)]
        share = probabilities_of(score).tolist()
        best = max(range(len(labels)), key=share.__getitem__)
        by_label = dict(zip(labels, share, strict=True))
        found.append(Prediction(labels[best], share[best], by_label))
    return found


def _neutral_questions(
    bound: Mapping[int, Any], questions: Sequence[Question]
) -> dict[int, Question]:
    """A question that says nothing, for each task that is calibrated."""
    chance = Random(0)
    return {
        question.task: bound[question.task].question(
            content_free(question.record.fields), "evaluate", chance
        )
        for question in questions
        if bound[question.task].answer.calibrate
    }


class BoundWords(_Labelled):
    """Labels whose words are single tokens: one row, one target."""

    key = ("words",)
    group_size = 1

    def __init__(self, answer: Words, filler: Filler, task: int) -> None:
        self.answer = answer
        self.filler = filler
        self.task = task
        self.tokens = [[filler.spell(word)[0] for word in ws] for ws in answer.words.values()]

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        label = self.label(record)
        answer = [NO_ANSWER if label == NO_ANSWER else self.tokens[label][0]]
        parts, cut = self.filler.fill(record, masks=self.filler.tokens.kind == "masked")
        row = self.filler.join(parts, answer)
        example = Example(self.task, row.ids, row.slots, row.targets, tuple(answer), label)
        return Question(record, (example,), cut)

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundWords"]) -> "WordPanel":
        return WordPanel(bound)


class WordPanel:
    """Tasks whose label words are single tokens."""

    def __init__(self, bound: Mapping[int, BoundWords]) -> None:
        self.bound = bound
        self.words = LabelWords.of({task: each.tokens for task, each in bound.items()})

    @property
    def objective(self) -> Objective:
        """Cross-entropy over the labels' words alone (Schick and Schütze 2021, equation 1)."""
        return LabelLoss(self.words)

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        neutral = _neutral_questions(self.bound, questions)
        asked = [*questions, *neutral.values()]
        shape = (self.words.num_labels,)

        def ask(batch: Batch) -> Sequence[Tensor]:
            return list(asker.model.ask(batch, asker.prompts, self.words, shape))

        scores = asker.in_batches([question.rows[0] for question in asked], ask)
        said = dict(zip(neutral, scores[len(questions) :], strict=True))
        return _predictions(self.bound, questions, scores[: len(questions)], said)


@dataclass(frozen=True)
class LabelWords:
    """What each label's words score at the first target, (N, L): logits, summed as odds.

    Attributes:
        tokens: (R, L, W) int64, token ids of all tasks' label words, padded.
        exists: (R, L, W) bool, false at padding.
    """

    tokens: Tensor
    exists: Tensor

    @classmethod
    def of(cls, words: Mapping[int, Sequence[Sequence[int]]]) -> "LabelWords":
        """Of each task, by its index, the tokens of each label's words."""
        labels = max(map(len, words.values()))
        most = max(len(label) for each in words.values() for label in each)
        tokens = torch.zeros(max(words) + 1, labels, most, dtype=torch.int64)
        exists = torch.zeros_like(tokens, dtype=torch.bool)
        for task, each in words.items():
            for place, label in enumerate(each):
                tokens[task, place, : len(label)] = torch.tensor(label)
                exists[task, place, : len(label)] = True
        return cls(tokens, exists)

    @property
    def num_labels(self) -> int:
        """L."""
        return self.tokens.shape[1]

    def of_tasks(self, tasks: Sequence[int]) -> "LabelWords":
        """Those of some tasks, which are numbered anew."""
        return LabelWords(self.tokens[list(tasks)], self.exists[list(tasks)])

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        device = logits.device
        tokens, exists = (t.to(device)[batch.tasks] for t in (self.tokens, self.exists))
        picked = vocabulary.pick(logits[:, :1], tokens.flatten(1).unsqueeze(1))
        picked = picked.view(tokens.shape).masked_fill(~exists, _NEVER)
        return picked.squeeze(-1) if tokens.shape[-1] == 1 else picked.logsumexp(-1)


@dataclass(frozen=True)
class LabelLoss:
    """Cross-entropy of the right label over the labels' words, (N,) in nats."""

    words: LabelWords

    def of_tasks(self, tasks: Sequence[int]) -> "LabelLoss":
        """That of some tasks, which are numbered anew."""
        return LabelLoss(self.words.of_tasks(tasks))

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        scores = self.words(vocabulary, logits, batch)
        return cross_entropy(scores, batch.labels, reduction="none")


class BoundSpelledOut(_Labelled, RowPerOption):
    """Labels whose words take several tokens: a row for each word."""

    def __init__(self, answer: Words, filler: Filler, task: int) -> None:
        self.answer = answer
        self.words = [word for words in answer.words.values() for word in words]
        places = [[i] * len(words) for i, words in enumerate(answer.words.values())]
        self.label_of_word = tuple(place for each in places for place in each)
        RowPerOption.__init__(self, filler, task, len(self.words))
        self.key = ("spelled out", self.label_of_word)

    def options(self, record: Record) -> Sequence[str]:
        return self.words

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundSpelledOut"]) -> "SpelledOutPanel":
        return SpelledOutPanel(bound)


class SpelledOutPanel:
    """Tasks with as many label words, some of several tokens."""

    def __init__(self, bound: Mapping[int, BoundSpelledOut]) -> None:
        self.bound = bound
        self.label_of_word = next(iter(bound.values())).label_of_word

    @property
    def objective(self) -> Objective:
        """Cross-entropy over the labels, each as likely as its words together."""
        return SpelledOutLoss(self.label_of_word)

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        neutral = _neutral_questions(self.bound, questions)
        asked = [*questions, *neutral.values()]
        scores = _by_label(option_scores(asked, self.bound, asker), self.label_of_word)
        said = dict(zip(neutral, scores[len(questions) :], strict=True))
        return _predictions(self.bound, questions, list(scores[: len(questions)]), said)


@dataclass(frozen=True)
class SpelledOutLoss:
    """Cross-entropy of the right label, each as likely as its words together, (N,) in nats.

    Attributes:
        label_of_word: of each row of a group, the label that its word stands for.
    """

    label_of_word: tuple[int, ...]

    def __call__(self, vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        words = log_likelihoods(vocabulary, logits, batch).view(-1, batch.group_size)
        scores = _by_label(words, self.label_of_word)
        labels = batch.labels.view(-1, batch.group_size)[:, 0]
        losses = cross_entropy(scores, labels, reduction="none")
        return losses.repeat_interleave(batch.group_size)


def _by_label(words: Tensor, label_of_word: Sequence[int]) -> Tensor:
    """Log-probability of each label, (M, L), from those of words, (M, G)."""
    place = torch.tensor(label_of_word, device=words.device)
    labels = range(max(label_of_word) + 1)
    return torch.stack([words[:, place == label].logsumexp(-1) for label in labels], dim=-1)
