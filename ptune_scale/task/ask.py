"""Asking a model about rows, in batches of similar length.

Whoever asks need not know where the model is: a function behind the protocol ``Model`` may be one
process, or any layout of ranks.

Shapes: N rows, K targets in a row, C options, R tasks, S slots, H embedding size, V vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ptune_scale.task.asked import NextTokens
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_QUESTION, NO_SLOT, Batch, Example, collate

Found = TypeVar("Found")


class Continuation(Protocol):
    """What a model goes on with, its log-probability, and whether it came to an end by itself."""

    @property
    def tokens(self) -> Sequence[int]: ...

    @property
    def log_probability(self) -> float: ...

    @property
    def ended(self) -> bool: ...


class Model(Protocol):
    """The frozen side, see ``parallel.PromptFunction``."""

    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Callable[[Any, Tensor, Batch], Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype = ...,
    ) -> Tensor: ...

    def log_probabilities(self, batch: Batch, prompts: Tensor) -> Tensor: ...

    def top(self, batch: Batch, prompts: Tensor, k: int) -> tuple[Tensor, Tensor]: ...

    def ranks(self, batch: Batch, prompts: Tensor, candidates: Candidates) -> Tensor: ...

    def generate(
        self, batch: Batch, prompts: Tensor, *, max_tokens: int, stop: Collection[int]
    ) -> Sequence[Continuation]: ...


@dataclass
class Asker:
    """Asks a model with a prompt matrix.

    Attributes:
        model: the frozen side.
        prompts: (R, S, H), the prompt matrix P.
        batch_size: most rows in a batch.
        batch_tokens: most tokens in a batch, padding counted; 0 for no limit. A longer row is a
            batch of its own.
        shared_tokens: so many tokens, the same in all rows, are computed once for a whole batch,
            and are counted once.
        after_batch: called with the number of rows of each batch that is done.
        wants_likelihood: whether the log-likelihood of expected texts is asked for too.
    """

    model: Model
    prompts: Tensor
    batch_size: int = 256
    batch_tokens: int = 0
    shared_tokens: int = 0
    after_batch: Callable[[int], None] = lambda rows: None
    wants_likelihood: bool = False

    def in_batches(
        self,
        rows: Sequence[Example],
        ask: Callable[[Batch], Sequence[Found]],
    ) -> list[Found]:
        """What ``ask`` says of each row, asked of batches of similar length.

        Rows of one question stand together, so that what they share is computed once.
        """
        longest: dict[tuple[int, int], int] = {}
        for row in rows:
            key = (row.task, row.question)
            longest[key] = max(longest.get(key, 0), len(row.ids))

        def place(number: int) -> tuple[int, ...]:
            row = rows[number]
            if row.question == NO_QUESTION:
                return (len(row.ids),)
            return (longest[row.task, row.question], row.task, row.question, len(row.ids))

        order = sorted(range(len(rows)), key=place)
        lengths = [len(rows[i].ids) - self.shared_tokens for i in order]
        found: list[Any] = [None] * len(rows)
        limit = max(1, self.batch_tokens - self.shared_tokens) if self.batch_tokens else None
        for cut in cut_by_tokens(lengths, limit, rows=self.batch_size, padded=True):
            index = order[cut]
            answers = ask(collate([rows[i] for i in index]))
            for i, answer in zip(index, answers, strict=True):
                found[i] = answer
            self.after_batch(len(index))
        return found

    def log_probabilities(self, rows: Sequence[Example]) -> list[Tensor]:
        """Log-probability of each row's answers at its targets, (K,) of its own, in nats."""

        def ask(batch: Batch) -> list[Tensor]:
            found = self.model.log_probabilities(batch, self.prompts)
            return [f[: len(e.targets)] for f, e in zip(found, batch.examples, strict=True)]

        return self.in_batches(rows, ask)

    def likeliest(self, rows: Sequence[Example]) -> list[tuple[Tensor, Tensor]]:
        """Probability and id of the likeliest token at each target of each row, (K,) both."""

        def ask(batch: Batch) -> list[tuple[Tensor, Tensor]]:
            probabilities, tokens = self.model.top(batch, self.prompts, 1)
            return [
                (probabilities[i, : len(e.targets), 0], tokens[i, : len(e.targets), 0])
                for i, e in enumerate(batch.examples)
            ]

        return self.in_batches(rows, ask)

    def next_tokens(self, rows: Sequence[Example], tokens: Tensor) -> list[Tensor]:
        """Log-probabilities of some tokens, (C,) int64, at each row's first target, in nats."""
        question, shape = NextTokens(tokens), (len(tokens),)
        return self.in_batches(
            rows, lambda batch: list(self.model.ask(batch, self.prompts, question, shape))
        )

    def filled(self, rows: Sequence[Example]) -> list[float]:
        """Log-probability of each row's answer whose masks are filled one after another.

        The surest first, and each is seen by the next (Schick and Schütze 2021, section 3.2).
        """
        totals = [0.0] * len(rows)
        still_open = dict(enumerate(rows))
        while still_open:
            numbers = list(still_open)
            found = self.log_probabilities([still_open[number] for number in numbers])
            for number, scores in zip(numbers, found, strict=True):
                surest = int(scores.argmax())
                totals[number] += float(scores[surest])
                row = still_open.pop(number)
                rest = with_answer(row, surest, row.answers[surest])
                if rest.targets:
                    still_open[number] = rest
        return totals

    def read(self, rows: Sequence[Example]) -> list[float]:
        """Log-probability of each row's answer, whose tokens the row itself holds."""
        return [float(each.sum()) for each in self.log_probabilities(rows)]


def with_answer(row: Example, place: int, token: int) -> Example:
    """The row with a token written at one of its targets, which is then none any more."""
    target = row.targets[place]
    others = [i for i in range(len(row.targets)) if i != place]
    return replace(
        row,
        ids=(*row.ids[:target], token, *row.ids[target + 1 :]),
        targets=tuple(row.targets[i] for i in others),
        answers=tuple(row.answers[i] for i in others),
    )


def continued(row: Example, more: Sequence[int]) -> Example:
    """A row with tokens behind it, asked about what comes next."""
    ids = (*row.ids, *more)
    slots = (*row.slots, *[NO_SLOT] * len(more))
    return replace(row, ids=ids, slots=slots, targets=(len(ids) - 1,))


def cut_by_tokens(
    lengths: Sequence[int], tokens: int | None, *, rows: int | None = None, padded: bool = False
) -> list[slice]:
    """Cut a sorted list into consecutive chunks, each as large as the limits allow.

    Args:
        lengths: tokens of each example, ascending.
        tokens: most tokens in a chunk; an example that is longer is a chunk of its own.
        rows: most examples in a chunk.
        padded: count each example of a chunk as long as its longest.

    Returns:
        the chunks in order; together they cover the list.
    """
    cuts = []
    start = total = 0
    for end, length in enumerate(lengths):
        count = end - start + 1
        size = count * length if padded else total + length
        too_many = rows is not None and count > rows
        too_long = tokens is not None and size > tokens
        if end > start and (too_many or too_long):
            cuts.append(slice(start, end))
            start, total = end, 0
        total += length
    if lengths:
        cuts.append(slice(start, len(lengths)))
    return cuts


def probabilities_of(log_scores: Tensor) -> Tensor:
    """Scores (..., C) in nats as shares that add up to one."""
    return torch.softmax(log_scores.double(), -1)
