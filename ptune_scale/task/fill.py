"""A pattern filled with a record: tokens that fit into a length, with an answer at the target.

Shapes: T tokens, K targets in a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptune_scale.errors import UserError
from ptune_scale.task.example import NO_SLOT
from ptune_scale.task.pattern import Pattern, Separator, Slots, Target, TextPiece
from ptune_scale.task.record import Record
from ptune_scale.task.spelling import spelling_of
from ptune_scale.task.tokenization import Tokenization


@dataclass(slots=True)
class Part:
    """Tokens of one piece."""

    ids: list[int]
    may_be_cut: bool = False
    is_slots: bool = False
    is_target: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A filled pattern with an answer.

    Attributes:
        ids: T token ids; a placeholder id stands at prompt slots.
        slots: slot number at each of the T positions, NO_SLOT elsewhere.
        targets: K positions whose outputs predict the answer's K tokens.
    """

    ids: tuple[int, ...]
    slots: tuple[int, ...]
    targets: tuple[int, ...]


class Filler:
    """Fills a pattern with records, for one tokenizer.

    Args:
        whose: the task, for messages.
        max_length: the most tokens of a row, special tokens included; None for no limit. A
            reference pattern stays as many tokens below it as there are special ones, as the
            published code does by mistake.
        beginning: token ids that every row begins with, behind the special ones; ``max_length``
            does not count them.

    Attributes:
        pattern: what the model can use of the pattern.

    Raises:
        UserError: the pattern does not fit the kind of model.
    """

    def __init__(
        self,
        pattern: Pattern,
        tokens: Tokenization,
        *,
        whose: str,
        max_length: int | None = None,
        beginning: Sequence[int] = (),
    ) -> None:
        self.whole_pattern = pattern
        self.pattern = pattern.usable_by(tokens.kind)
        self.tokens = tokens
        self.whose = whose
        self.beginning = tuple(beginning)
        self.max_length = max_length
        self.spelling = spelling_of(pattern.spelling, tokens)
        # A chat template brings its special tokens with it.
        is_chat = pattern.spelling == "chat"
        self._prefix, self._suffix = ([], []) if is_chat else tokens.special_ends
        specials = len(self._prefix) + len(self._suffix)
        self._reserved = specials * (2 if pattern.spelling == "reference" else 1)
        self._space, self._before = self._before_target()

    def _before_target(self) -> tuple[bool, str | None]:
        """Whether the answer has a space in front, and the character before it.

        A pattern of texts that are classified has none; they are filled and joined without.
        """
        before: str | None = None
        for piece in self.pattern.pieces:
            if isinstance(piece, Target):
                return piece.space, before
            before = piece.text[-1] if isinstance(piece, TextPiece) else ""
        return True, before

    @property
    def begins_word(self) -> bool:
        """Whether the answer is spelled as a new word of a sentence."""
        return self._space

    def spell(self, answer: str) -> list[int]:
        """Token ids of an answer at the target.

        Raises:
            UserError: one of them is not among the model's.
        """
        ids = self.spelling.text(answer, self._space, self._before)
        self.tokens.check_known(ids, f"the answer {answer!r} of {self.whose}")
        return ids

    def fill(
        self, record: Record, *, masks: int = 0, target_room: int = 0, trailing_space: bool = False
    ) -> tuple[list[Part], int]:
        """Tokens of each piece, cut to fit, and how many were cut.

        Args:
            masks: how many stand at the target.
            target_room: tokens that the target takes where no mask does.
            trailing_space: causal models only: keep the space before [Y] as a token of its own
                instead of leaving it to the answer's token.

        Raises:
            UserError: the record lacks a field, does not fit even without what may be cut, or puts
                nothing in front of the target for a causal model to predict from.
        """
        parts: list[Part] = []
        before: str | None = None
        pattern_is_chat = self.pattern.spelling == "chat"
        for piece, following in zip(
            self.pattern.pieces, [*self.pattern.pieces[1:], None], strict=True
        ):
            if isinstance(piece, Slots):
                parts.append(Part([self.tokens.placeholder] * piece.count, is_slots=True))
                before = ""
            elif isinstance(piece, Target):
                ids = self.spelling.masks(masks, piece.glued) if masks else []
                parts.append(Part(ids, is_target=True))
                before = ""
            elif isinstance(piece, Separator):
                ids, before = self.spelling.separator()
                parts.append(Part(ids))
            else:
                text = self._text(piece, record)
                if trailing_space and isinstance(following, Target):
                    text += " "
                if text:
                    space = piece.space and before != "\n"
                    # Nobody's text may end a turn of a chat.
                    is_field = pattern_is_chat and bool(piece.names)
                    plain = self.tokens.plain(text) if is_field else None
                    ids = plain or self.spelling.text(text, space, before)
                    parts.append(Part(ids, piece.may_be_cut))
                    before = text[-1]
        total = sum(len(part.ids) for part in parts) + target_room + self._reserved
        cut = self._cut(parts, total, record)
        self._check_context(parts, record)
        return parts, cut

    def _text(self, piece: TextPiece, record: Record) -> str:
        missing = [name for name in piece.names if name not in record.fields]
        if missing:
            raise UserError(
                f"{record.place}: no field "
                f"{', '.join(map(repr, missing))}, which the pattern of {self.whose} needs; it has "
                f"{', '.join(record.fields)}"
            )
        return piece.filled(record.fields)

    def _cut(self, parts: list[Part], total: int, record: Record) -> int:
        """Shorten the last texts that may be cut first; returns how many tokens went."""
        if self.max_length is None or total <= self.max_length:
            return 0
        left = total - self.max_length
        for part in reversed(parts):
            if part.may_be_cut and left > 0:
                gone = min(left, len(part.ids))
                del part.ids[len(part.ids) - gone :]
                left -= gone
        if left > 0:
            raise UserError(
                f"{record.place} of {self.whose} is {left} tokens too "
                f"long for the {self.max_length} of max_length or of the model's context, even "
                "without the texts that may be cut; mark a field that may be cut as {name...}, or "
                "leave the record out"
            )
        return total - self.max_length

    def _check_context(self, parts: Sequence[Part], record: Record) -> None:
        if self.tokens.kind != "causal" or self._prefix or self.beginning:
            return
        for part in parts:
            if part.is_target:
                raise UserError(
                    f"{record.place}: pattern {self.pattern.text!r} of {self.whose} leaves "
                    "nothing to predict the target from"
                )
            if part.ids:
                return

    def join(self, parts: Sequence[Part], answer: Sequence[int]) -> Row:
        """The row of filled parts with an answer of K tokens.

        A causal model reads all but the last of them; a masked one has a mask for each, fewer than
        were made for the longest answer.
        """
        ids = [*self._prefix, *self.beginning]
        slots = [NO_SLOT] * len(ids)
        first = next_slot = 0
        for part in parts:
            new = part.ids
            numbers = [NO_SLOT] * len(new)
            if part.is_slots:
                numbers = list(range(next_slot, next_slot + len(new)))
                next_slot += len(new)
            elif part.is_target and self.tokens.kind == "causal":
                first = len(ids) - 1
                new = list(answer[:-1])
                numbers = [NO_SLOT] * len(new)
            elif part.is_target:
                spare = new.count(self.tokens.mask_token) - len(answer)
                start = new.index(self.tokens.mask_token)
                first = len(ids) + start
                new = new[:start] + new[start + spare :]
                numbers = [NO_SLOT] * len(new)
            ids += new
            slots += numbers
        ids += self._suffix
        self.tokens.check_known(ids, self.whose)
        slots += [NO_SLOT] * len(self._suffix)
        return Row(tuple(ids), tuple(slots), tuple(range(first, first + len(answer))))


def words_as_slots(pattern: Pattern, tokens: Tokenization) -> tuple[Pattern, list[int]]:
    """A pattern with a slot in the place of each token of its literal words.

    Returns:
        the pattern, and the token id of each slot's word; slots that were there have none.

    Raises:
        UserError: it has no literal words, or has slots already.
    """
    if pattern.num_slots:
        raise UserError(f"pattern {pattern.text!r} has slots already; give one of words alone")
    spelling = spelling_of("correct", tokens)
    written: list[str] = []
    words: list[int] = []
    before: str | None = None
    for piece in pattern.pieces:
        if isinstance(piece, TextPiece) and not piece.names:
            ids = spelling.text(piece.text, piece.space, before)
            words += ids
            written.append(f"[P]*{len(ids)}")
            before = piece.text[-1]
        elif isinstance(piece, TextPiece):
            written.append(f"{piece.text[:-1]}...}}" if piece.may_be_cut else piece.text)
            # What follows a field is spelled as behind a letter.
            before = "a"
        elif isinstance(piece, Target):
            written.append("[Y]")
            before = ""
        else:
            written.append("[SEP]")
            before = ""
    if not words:
        raise UserError(f"pattern {pattern.text!r} has no words that prompts could begin as")
    return Pattern.parse(" ".join(written)), words


def content_free(names: Iterable[str]) -> Record:
    """A record that says nothing, for calibration (Zhao et al. 2021, "Calibrate Before Use")."""
    return Record(id="content-free", fields=dict.fromkeys(names, "N/A"), answer=None)
