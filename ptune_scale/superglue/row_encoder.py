"""Records as token rows: what the model reads, where it is read, and what should stand there.

How a task's answer becomes targets (few-shot protocol of github.com/THUDM/P-tuning):

* words: one row, one target; the answer is the likeliest of the labels' words.
* choices: a row for each choice, one behind the other. A masked model gets as many masks as the
  choice has tokens; to train, as many as the longest, so that the rows are alike and only the
  expected tokens differ. A causal model reads the choice itself.
* span: one row. A masked model gets some masks more than the span has tokens, which should be
  padding: 0 to 3 by chance to train, 1 to evaluate. A causal model reads the span to train; to
  evaluate it goes on by itself, by as many tokens as the span has.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Literal

from ptune_scale.errors import UserError
from ptune_scale.superglue.parts import Part, PartEncoder
from ptune_scale.superglue.pattern import Pattern, SpacedTarget, Words
from ptune_scale.superglue.row import Row, Rows
from ptune_scale.superglue.spelling import one_token
from ptune_scale.superglue.task import Record, Task
from ptune_scale.template import NO_SLOT
from ptune_scale.tokenization import Tokenization

Purpose = Literal["train", "evaluate"]

_MOST_EXTRA_MASKS = 3


class RowEncoder:
    """Encodes the records of a task by a pattern, for one tokenizer.

    Args:
        max_length: the most tokens of a row, special tokens included. The reference layout stays
            as many tokens below it as there are special ones, as the reference does by mistake.
        seed: for the number of spare masks of spans; the same records get the same rows.
        beginning: token ids that every row begins with, behind the special ones; ``max_length``
            does not count them.

    Attributes:
        pattern: what the model can use of the pattern.
        word_tokens: token id of each label's word, in the order of the task's labels; empty
            where the answers are the record's own texts.
        group_size: rows of a record.

    Raises:
        UserError: the pattern does not fit the model or the task, or a label's word is not one
            token of the vocabulary.
    """

    def __init__(
        self,
        task: Task,
        pattern: Pattern,
        tokens: Tokenization,
        max_length: int,
        *,
        seed: int = 42,
        beginning: Sequence[int] = (),
    ) -> None:
        self.task = task
        self.pattern = pattern.usable_by(tokens.kind)
        self.tokens = tokens
        self.seed = seed
        self.beginning = tuple(beginning)
        self.group_size = 2 if task.answer == "choices" else 1
        self._parts = PartEncoder(task, pattern, self.pattern.pieces, tokens, max_length)
        self._spelling = self._parts.spelling
        self._prefix, self._suffix = tokens.special_ends
        self.word_tokens = self._word_tokens()

    def encode(self, records: Sequence[Record], purpose: Purpose) -> Rows:
        """The rows of all records, in order.

        Raises:
            UserError: a record does not fit the length even without its shortenable texts.
        """
        chance = random.Random(self.seed)
        rows: list[Row] = []
        for index, record in enumerate(records):
            extra = 0
            if self.task.answer == "span" and self.tokens.kind == "masked":
                extra = chance.randint(0, _MOST_EXTRA_MASKS) if purpose == "train" else 1
            rows += self._record_rows(index, record, purpose, extra)
        return Rows(tuple(rows), self.group_size)

    def _word_tokens(self) -> tuple[int, ...]:
        if self.task.answer != "words":
            return ()
        missing = [label for label in self.task.labels if label not in self.pattern.words]
        if missing:
            raise UserError(
                f"pattern {self.pattern.text!r} has no word for {', '.join(missing)} "
                f"of {self.task.name}"
            )
        space, before = self._before_target()
        return tuple(
            one_token(
                word,
                self._spelling.text(word, space, before),
                self.tokens,
                f"label {label!r} of {self.task.name}",
            )
            for label in self.task.labels
            for word in [self.pattern.words[label]]
        )

    def _before_target(self) -> tuple[bool, str | None]:
        """Whether the answer has a space in front, and the character before it."""
        before: str | None = None
        for piece in self.pattern.pieces:
            if isinstance(piece, SpacedTarget):
                return piece.space, before
            before = piece.text[-1] if isinstance(piece, Words) else ""
        raise AssertionError("a pattern has a target")

    def _record_rows(
        self, index: int, record: Record, purpose: Purpose, extra: int
    ) -> Iterator[Row]:
        """``extra`` is the number of spare masks."""
        answers = [list(answer) for answer in self._answers(record)]
        padding = [self.tokens.placeholder] * extra
        answers = [answer + padding for answer in answers]
        longest = max(map(len, answers))
        masked = self.tokens.kind == "masked"
        # A causal model's target takes no token of its own, but the answer behind it does.
        room = 0 if masked else longest - 1
        parts, cut = self._parts.encode(
            record, index, masks=longest if masked else 0, target_room=room
        )
        for answer in answers:
            known = self.task.answer != "words" or record.label is not None
            row_answer, answered = answer, [known] * len(answer)
            if purpose == "train" and masked:
                short = longest - len(answer)
                row_answer = answer + [self.tokens.placeholder] * short
                answered = answered + [False] * short
            decode = 0
            if self.task.answer == "span" and purpose == "evaluate":
                decode = len(row_answer)
                if not masked:
                    row_answer, answered = row_answer[:1], answered[:1]
            ids, slots, first = self._join(parts, row_answer)
            yield Row(
                record=index,
                label=record.label,
                ids=ids,
                slots=slots,
                targets=tuple(range(first, first + len(row_answer))),
                answers=tuple(row_answer),
                answered=tuple(answered),
                decode=decode,
                cut=cut,
            )

    def _answers(self, record: Record) -> list[Sequence[int]]:
        """Token ids of what may stand at the target, one entry a row."""
        if self.task.answer == "words":
            return [[self.word_tokens[record.label or 0]]]
        space, before = self._before_target()
        return [self._spelling.text(o, space, before) for o in self.task.options(record)]

    def _join(
        self, parts: list[Part], answer: list[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Ids, slot numbers and the first target of a row."""
        ids = [*self._prefix, *self.beginning]
        slots = [NO_SLOT] * len(ids)
        first = next_slot = 0
        for part in parts:
            new, numbers = part.ids, [NO_SLOT] * len(part.ids)
            if part.is_slots:
                numbers = list(range(next_slot, next_slot + len(new)))
                next_slot += len(new)
            elif part.is_target and self.tokens.kind == "causal":
                first = len(ids) - 1
                new, numbers = answer[:-1], [NO_SLOT] * (len(answer) - 1)
            elif part.is_target:
                # One mask for each token of the answer; fewer than were made for the longest.
                spare = new.count(self.tokens.mask_token) - len(answer)
                start = new.index(self.tokens.mask_token)
                first = len(ids) + start
                new = new[:start] + new[start + spare :]
                numbers = [NO_SLOT] * len(new)
            ids += new
            slots += numbers
        if first < 0:
            raise UserError(
                f"pattern {self.pattern.text!r} leaves nothing to predict the target from"
            )
        ids += self._suffix
        slots += [NO_SLOT] * len(self._suffix)
        return tuple(ids), tuple(slots), first
