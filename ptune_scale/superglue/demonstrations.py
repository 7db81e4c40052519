"""Training records with their answers, to stand in front of a question (Brown et al. 2020, GPT-3).

What the model reads, with the pattern "{text} Answer: [Y].", is::

    It rains. Answer: Yes.

    It is dry. Answer: No.

    It pours. Answer:
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern, Target, TextPiece
from ptune_scale.task.record import Record
from ptune_scale.task.tokenization import Tokenization

_BLANK_LINE = "\n\n"
_LETTER = "a"


@dataclass(frozen=True)
class Demonstrations:
    """What stands in front of every question.

    Attributes:
        records: those shown, in order.
        ids: their tokens, each with its answer and a blank line behind it.
    """

    records: tuple[Record, ...]
    ids: tuple[int, ...]


def take_turns(records: Sequence[Record], labels: Sequence[str], seed: int) -> list[Record]:
    """All records by chance, but so that their labels take turns as long as there are any.

    However many of the first ones are shown, no label is shown much more often than another.
    """
    chance = random.Random(seed)
    of_label = {label: [r for r in records if r.answer == label] for label in labels}
    present = [label for label in labels if of_label[label]]
    chance.shuffle(present)
    groups = [of_label[label] for label in present]
    for group in groups:
        chance.shuffle(group)
    order = []
    while any(groups):
        order += [group.pop() for group in groups if group]
    return order


def demonstrate(
    asked: AskedTask, records: Iterable[Record], *, at_most: int, room: int | None = None
) -> Demonstrations:
    """Show the first records, passing over those that do not fit any more.

    Args:
        asked: the task, for a causal model; each record is cut to its length. What stands behind
            the pattern's target is shown too.
        records: with labels; where the answer is a span, only those of which it is the right one.
        at_most: most records.
        room: most tokens of all together; None for no limit.

    Raises:
        UserError: a record does not fit the length.
    """
    end = _end(asked.wording.pattern, asked.filler.tokens)
    shown: list[Record] = []
    ids: list[int] = []
    for record in records:
        if len(shown) == at_most:
            break
        more = [*_with_answer(asked, record), *end]
        if room is None or len(ids) + len(more) <= room:
            shown.append(record)
            ids += more
    return Demonstrations(tuple(shown), tuple(ids))


def _with_answer(asked: AskedTask, record: Record) -> tuple[int, ...]:
    """Tokens of a record up to the end of its answer, without special ones in front."""
    [question] = asked.questions([record], "train")
    first = question.rows[0]
    row = question.rows[first.label] if len(question.rows) > 1 else first
    prefix, _ = asked.filler.tokens.special_ends
    # A causal row ends in front of the last token of what it should predict.
    return (*row.ids[len(prefix) :], row.answers[-1])


def _end(pattern: Pattern, tokens: Tokenization) -> list[int]:
    """Tokens of what stands behind an answer, and of the blank line in front of the next record."""
    # Some vocabularies have other tokens for line breaks where no text follows.
    ids = tokens.after(_text_behind_target(pattern) + _BLANK_LINE + _LETTER)
    return ids[: len(ids) - len(tokens.start(_LETTER))]


def _text_behind_target(pattern: Pattern) -> str:
    """Literal text: a causal model cannot use a pattern with any other there."""
    target = next(i for i, piece in enumerate(pattern.pieces) if isinstance(piece, Target))
    behind = [piece for piece in pattern.pieces[target:] if isinstance(piece, TextPiece)]
    return "".join(" " * piece.space + piece.text for piece in behind)
