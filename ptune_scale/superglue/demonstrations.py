"""Training records with their answers, to stand in front of a question (Brown et al. 2020, GPT-3).

What the model reads, with the pattern "{text} Answer: [Y].", is::

    It rains. Answer: Yes.

    It is dry. Answer: No.

    It pours. Answer:
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptune_scale.superglue.pattern import Pattern, SpacedTarget, Words
from ptune_scale.superglue.row_encoder import RowEncoder
from ptune_scale.superglue.task import Record
from ptune_scale.tokenization import Tokenization

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


def take_turns(records: Sequence[Record], seed: int) -> list[Record]:
    """All records by chance, but so that their labels take turns as long as there are any.

    However many of the first ones are shown, no label is shown much more often than another.
    """
    chance = random.Random(seed)
    labels = sorted({record.label for record in records})
    chance.shuffle(labels)
    of_label = {label: [record for record in records if record.label == label] for label in labels}
    for group in of_label.values():
        chance.shuffle(group)
    order = []
    while any(of_label.values()):
        order += [group.pop() for group in of_label.values() if group]
    return order


def demonstrate(
    encoder: RowEncoder,
    pattern: Pattern,
    records: Iterable[Record],
    *,
    at_most: int,
    room: int | None = None,
) -> Demonstrations:
    """Show the first records, passing over those that do not fit any more.

    Args:
        encoder: of questions by ``pattern``, for a causal model; each record is cut to its length.
        pattern: as it was written: what stands behind the target is shown too.
        records: with labels; where the answer is a span, only those of which it is the right one.
        at_most: most records.
        room: most tokens of all together; None for no limit.

    Raises:
        UserError: a record does not fit the encoder's length.
    """
    end = _end(pattern, encoder.tokens)
    shown: list[Record] = []
    ids: list[int] = []
    for record in records:
        if len(shown) == at_most:
            break
        more = [*_with_answer(encoder, record), *end]
        if room is None or len(ids) + len(more) <= room:
            shown.append(record)
            ids += more
    return Demonstrations(tuple(shown), tuple(ids))


def _with_answer(encoder: RowEncoder, record: Record) -> tuple[int, ...]:
    """Tokens of a record up to the end of its answer, without special ones in front."""
    rows = encoder.encode([record], "train").rows
    row = rows[record.label if encoder.task.answer == "choices" else 0]
    prefix, _ = encoder.tokens.special_ends
    # A causal row ends in front of the last token of what it should predict.
    return (*row.ids[len(prefix) :], row.answers[-1])


def _end(pattern: Pattern, tokens: Tokenization) -> list[int]:
    """Tokens of what stands behind an answer, and of the blank line in front of the next record."""
    # Some vocabularies have other tokens for line breaks where no text follows.
    ids = tokens.after(_text_behind_target(pattern) + _BLANK_LINE + _LETTER)
    return ids[: len(ids) - len(tokens.start(_LETTER))]


def _text_behind_target(pattern: Pattern) -> str:
    """Literal text: a causal model cannot use a pattern with any other there."""
    target = next(i for i, piece in enumerate(pattern.pieces) if isinstance(piece, SpacedTarget))
    behind = [piece for piece in pattern.pieces[target:] if isinstance(piece, Words)]
    return "".join(" " * piece.space + piece.text for piece in behind)
