"""What a model answers: the label of each record, by the kind of the task's answer.

words: the likeliest of the labels' words. choices: the choice that the model finds likelier, the
sum of its tokens' log-probabilities. span: the model writes a phrase, which is compared.

A masked model fills several masks one after another, the surest first, and sees what it has filled
(Schick and Schütze 2021, section 3.2); a causal one reads from left to right.

Shapes: M records, L labels, S slots, H embedding size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptune_scale.data.batch import Batch
from ptune_scale.data.sampler import cut_by_tokens
from ptune_scale.parallel import PromptFunction
from ptune_scale.superglue.question import Question, collate_rows
from ptune_scale.superglue.row import Row
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.task import Record
from ptune_scale.superglue.tasks.wsc import refers
from ptune_scale.template import NO_SLOT


@dataclass(frozen=True)
class Predictions:
    """Answers to M questions.

    Attributes:
        labels: index of the label of each.
        scores: (M, L) log-probabilities that they were chosen by; None where a phrase was written.
        texts: the phrases that were written.
    """

    labels: tuple[int, ...]
    scores: Tensor | None = None
    texts: tuple[str, ...] = ()


class Predictor:
    """Asks a model.

    Args:
        encoder: that the questions were made with.
        batch_size: most rows in a batch.
        batch_tokens: most tokens in a batch, padding counted; 0 for no limit.
        shared_tokens: so many tokens, the same in all rows, are computed once for a whole batch,
            and are counted once.
        after_batch: called with the number of rows of each batch that is done.
    """

    def __init__(
        self,
        function: PromptFunction,
        encoder: RowEncoder,
        *,
        batch_size: int,
        batch_tokens: int = 0,
        shared_tokens: int = 0,
        after_batch: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.function = function
        self.encoder = encoder
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.shared_tokens = shared_tokens
        self.after_batch = after_batch
        self.tokens = encoder.tokens

    def predict(
        self, records: Sequence[Record], questions: Sequence[Question], prompts: Tensor
    ) -> Predictions:
        """Answer questions.

        Args:
            questions: of the records, in their order, encoded to evaluate.
            prompts: (1, S, H), the prompt matrix.
        """
        kind = self.encoder.task.answer
        if kind == "words":
            return self._words(questions, prompts)
        if kind == "choices":
            return self._choices(questions, prompts)
        return self._spans(records, questions, prompts)

    def _words(self, questions: Sequence[Question], prompts: Tensor) -> Predictions:
        rows = [question.rows[0] for question in questions]
        words = torch.tensor(self.encoder.word_tokens)

        def ask(batch: Batch, part: list[Row]) -> Tensor:
            asked = words.expand(len(batch), 1, -1)
            return self.function.log_probabilities(batch, prompts, asked)[:, 0]

        scores = torch.stack(self._in_batches(rows, ask))
        return Predictions(tuple(scores.argmax(-1).tolist()), scores)

    def _choices(self, questions: Sequence[Question], prompts: Tensor) -> Predictions:
        rows = [row for question in questions for row in question.rows]
        filled = self._filled if self.tokens.kind == "masked" else self._read
        scores = filled(rows, prompts).view(len(questions), -1)
        return Predictions(tuple(scores.argmax(-1).tolist()), scores)

    def _read(self, rows: Sequence[Row], prompts: Tensor) -> Tensor:
        """Log-probability of each row's answer, whose tokens the row itself holds, (N,)."""
        return torch.stack([each.sum() for each in self._each_token(rows, prompts)])

    def _filled(self, rows: Sequence[Row], prompts: Tensor) -> Tensor:
        """The same where masks stand in the answer's place, filled one by one, (N,)."""
        totals = torch.zeros(len(rows))
        open_rows = dict(enumerate(rows))
        while open_rows:
            numbers = list(open_rows)
            found = self._each_token([open_rows[number] for number in numbers], prompts)
            for number, scores in zip(numbers, found, strict=True):
                surest = int(scores.argmax())
                totals[number] += scores[surest]
                rest = _fill(open_rows.pop(number), surest)
                if rest.targets:
                    open_rows[number] = rest
        return totals

    def _each_token(self, rows: Sequence[Row], prompts: Tensor) -> list[Tensor]:
        """Log-probability of each row's answers at its targets, (K,) of its own."""

        def ask(batch: Batch, part: list[Row]) -> list[Tensor]:
            most = batch.targets.shape[1]
            asked = [[*row.answers, *[0] * (most - len(row.answers))] for row in part]
            found = self.function.log_probabilities(
                batch, prompts, torch.tensor(asked).unsqueeze(-1)
            )
            return [each[: len(row.targets), 0] for each, row in zip(found, part, strict=True)]

        return self._in_batches(rows, ask)

    def _spans(
        self, records: Sequence[Record], questions: Sequence[Question], prompts: Tensor
    ) -> Predictions:
        rows = [question.rows[0] for question in questions]
        write = self._write_masks if self.tokens.kind == "masked" else self._write_on
        reference = self.encoder.pattern.layout == "reference"
        texts = tuple(self._text(tokens) for tokens in write(rows, prompts))
        labels = tuple(
            int(refers(text, record, empty_refers=reference))
            for text, record in zip(texts, records, strict=True)
        )
        return Predictions(labels, texts=texts)

    def _write_masks(self, rows: Sequence[Row], prompts: Tensor) -> list[list[int]]:
        """The tokens that the model fills each row's masks with, the surest first."""
        written: list[dict[int, int]] = [{} for _ in rows]
        open_rows = dict(enumerate(rows))
        while open_rows:
            numbers = list(open_rows)
            found = self._likeliest([open_rows[number] for number in numbers], prompts)
            for number, (probabilities, tokens) in zip(numbers, found, strict=True):
                surest = int(probabilities.argmax())
                row = open_rows.pop(number)
                token = int(tokens[surest])
                written[number][row.targets[surest]] = token
                answers = (*row.answers[:surest], token, *row.answers[surest + 1 :])
                rest = _fill(replace(row, answers=answers), surest)
                if rest.targets:
                    open_rows[number] = rest
        return [[tokens[place] for place in sorted(tokens)] for tokens in written]

    def _write_on(self, rows: Sequence[Row], prompts: Tensor) -> list[list[int]]:
        """The tokens that a causal model goes on with, the likeliest at each place."""
        written: list[list[int]] = [[] for _ in rows]
        open_rows = dict(enumerate(rows))
        while open_rows:
            numbers = list(open_rows)
            found = self._likeliest([open_rows[number] for number in numbers], prompts)
            for number, (_, tokens) in zip(numbers, found, strict=True):
                row, token = open_rows.pop(number), int(tokens[0])
                written[number].append(token)
                if len(written[number]) < row.decode:
                    ids, slots = (*row.ids, token), (*row.slots, NO_SLOT)
                    open_rows[number] = replace(row, ids=ids, slots=slots, targets=(len(row.ids),))
        return written

    def _likeliest(self, rows: Sequence[Row], prompts: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Probability and id of the likeliest token at each target of each row, (K,) both."""

        def ask(batch: Batch, part: list[Row]) -> list[tuple[Tensor, Tensor]]:
            probabilities, tokens = self.function.top(batch, prompts, 1)
            return [
                (probabilities[i, : len(row.targets), 0], tokens[i, : len(row.targets), 0])
                for i, row in enumerate(part)
            ]

        return self._in_batches(rows, ask)

    def _in_batches(self, rows: Sequence[Row], ask: Callable[[Batch, list[Row]], Sequence]) -> list:
        """What ``ask`` says of each row, asked of batches of similar length."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
        lengths = [len(rows[i].ids) - self.shared_tokens for i in order]
        found: list = [None] * len(rows)
        limit = max(1, self.batch_tokens - self.shared_tokens) if self.batch_tokens else None
        for cut in cut_by_tokens(lengths, limit, rows=self.batch_size, padded=True):
            part = [rows[i] for i in order[cut]]
            answers = ask(collate_rows(part, self.tokens.placeholder), part)
            for index, answer in zip(order[cut], answers, strict=True):
                found[index] = answer
            self.after_batch(len(part))
        return found

    def _text(self, tokens: list[int]) -> str:
        padding = self.tokens.placeholder
        return self.tokens.tokenizer.decode([token for token in tokens if token != padding])


def _fill(row: Row, place: int) -> Row:
    """The row with one of its answers written at its target, which is then none any more."""
    target = row.targets[place]
    others = [i for i in range(len(row.targets)) if i != place]
    return replace(
        row,
        ids=(*row.ids[:target], row.answers[place], *row.ids[target + 1 :]),
        targets=tuple(row.targets[i] for i in others),
        answers=tuple(row.answers[i] for i in others),
        answered=tuple(row.answered[i] for i in others),
    )
