"""A pattern: how the fields of a record, literal words, prompt slots and the target are ordered.

The notation::

    "{passage...}. [P]*3 Question: {question}? Answer: [Y]."

``{name}`` is a field of the record, and ``...`` says that it may be cut where a row is too long,
the last such field first. ``{name|bare}`` passes it through a filter, see ``filters``. ``[P]`` or
``[P]*N`` are prompt slots, ``[SEP]`` a separator between texts, ``[Y]`` the target. Any other words
are anchors (Liu et al. 2021, section 3.2). A pattern without slots is a manual prompt.

Facts have one field, and two shorter spellings of it (section 3.1)::

    "[X] was born in [Y]"      is   "{subject} was born in [Y]"
    "(3, sub, 3, obj)"         is   "[P]*3 {subject} [P]*3 [Y]"

A reference pattern has the same parts with a bar wherever the published code calls the tokenizer
anew, because the pieces then differ in their tokens: "?" on its own is not the "?" that follows a
word, in a SentencePiece vocabulary.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ptune_scale.errors import UserError
from ptune_scale.reading import shown
from ptune_scale.task.filters import check_filters, field_name, field_text

Kind = Literal["causal", "masked"]
"""A causal model predicts what comes next; a masked one, what a mask stands for."""

SpellingName = Literal["correct", "reference", "chat"]
"""How pieces become tokens: as inside a sentence; each on its own, as in the published code; or
exactly as written, special tokens included, as chat templates are."""

SUBJECT = "subject"
"""The field that ``[X]`` stands for."""

_PLACEHOLDER = re.compile(
    r"\{(?P<field>\w[^{}\[\]]*?)(?P<cut>\.\.\.)?\}"
    r"|\[(?P<mark>P|X|Y|SEP)\](?:\*(?P<count>\d+))?"
)
_MOST_SLOTS = 100_000
_TUPLE = re.compile(r"\([\w\s,]*\)")
_BRACKETED = re.compile(r"\[([A-Za-z]+)\]")
# Inside of braces a bar names a filter.
_BAR = re.compile(r"\|(?![^{}]*\})")


@dataclass(frozen=True, slots=True)
class Slots:
    """A run of consecutive prompt slots."""

    count: int


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text of a record or of the pattern itself.

    Attributes:
        text: literal text, in which ``{name}`` stands for a field of the record.
        may_be_cut: whether it may be shortened.
        space: whether a space separates it from what stands in front.
    """

    text: str
    may_be_cut: bool = False
    space: bool = False

    @property
    def names(self) -> list[str]:
        """The fields in it."""
        found = (match["field"] for match in _PLACEHOLDER.finditer(self.text))
        return [field_name(expression) for expression in found if expression]

    def filled(self, fields: Mapping[str, str]) -> str:
        """The text with the fields of a record in it."""

        def text(match: re.Match[str]) -> str:
            return field_text(match["field"], fields) if match["field"] else match[0]

        return _PLACEHOLDER.sub(text, self.text)


@dataclass(frozen=True, slots=True)
class Separator:
    """The tokenizer's separator token; a line break for a causal model."""


@dataclass(frozen=True, slots=True)
class Target:
    """The place of the answer.

    Attributes:
        space: whether the answer is spelled with a space in front.
        glued: literal text that the published code tokenizes in one call with the masks.
    """

    space: bool = True
    glued: str = ""


Piece = TextPiece | Slots | Separator | Target


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern.

    Attributes:
        text: the notation that it was made from.
        pieces: what it consists of, in order.
        spelling: how the pieces become tokens.

    Example:
        >>> Pattern.parse("{title}. {body...} [P]*4 Category: [Y]").names
        ['title', 'body']
    """

    text: str
    pieces: tuple[Piece, ...] = field(compare=False, repr=False)
    spelling: SpellingName = "correct"

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read the notation.

        Raises:
            UserError: an unknown placeholder, not exactly one target, or a run of no slots.
        """
        text = _from_tuple(text) if _TUPLE.fullmatch(text.strip()) else text
        return cls._checked(text, _pieces(text), "correct")

    @classmethod
    def reference(cls, text: str) -> "Pattern":
        """Read the notation with bars: each stretch between them is tokenized on its own."""
        return cls._checked(text, [_whole_piece(part) for part in _BAR.split(text)], "reference")

    @classmethod
    def chat(cls, text: str) -> "Pattern":
        """Read a rendered chat template, whose spaces and special tokens stay as they are."""
        return cls._checked(text, _pieces(text, exact=True), "chat")

    @classmethod
    def read(cls, text: str, spelling: SpellingName) -> "Pattern":
        """Read the notation of a spelling."""
        readers = {"correct": cls.parse, "reference": cls.reference, "chat": cls.chat}
        return readers[spelling](text)

    @classmethod
    def untargeted(cls, text: str) -> "Pattern":
        """Read the notation of texts that are classified as they stand: nothing is asked.

        Raises:
            UserError: there is a target or a slot.
        """
        pattern = cls(text, tuple(_pieces(text)))
        if any(isinstance(piece, Target | Slots) for piece in pattern.pieces):
            raise UserError(f"pattern {text!r} is to be classified: leave out [Y] and [P]")
        return pattern

    @classmethod
    def _checked(cls, text: str, pieces: list[Piece], spelling: SpellingName) -> "Pattern":
        targets = sum(isinstance(piece, Target) for piece in pieces)
        if targets != 1:
            raise UserError(
                f"pattern {text!r} has {targets or 'no'} targets; write [Y] exactly once"
            )
        return cls(text, tuple(pieces), spelling)

    @property
    def num_slots(self) -> int:
        """Number of prompt slots S, counted over the whole pattern."""
        return sum(piece.count for piece in self.pieces if isinstance(piece, Slots))

    @property
    def names(self) -> list[str]:
        """The fields of a record that it uses, in order, each once."""
        named = [n for piece in self.pieces if isinstance(piece, TextPiece) for n in piece.names]
        return list(dict.fromkeys(named))

    def check_fields(self, known: Collection[str], whose: str) -> None:
        """Make sure that records have what the pattern names.

        Raises:
            UserError: they do not; the message lists what there is.
        """
        missing = [name for name in self.names if name not in known]
        if missing:
            raise UserError(
                f"pattern {self.text!r}: {whose} has no field {', '.join(map(repr, missing))}; "
                f"it has {', '.join(known)}"
            )

    def with_slots(self, count: int) -> "Pattern":
        """The same pattern with ``count`` slots wherever it has some.

        Raises:
            UserError: the pattern has none or is a reference one, or ``count`` is not positive.
        """
        if count < 1 or not self.num_slots or self.spelling == "reference":
            raise UserError(f"pattern {self.text!r} cannot have {count} prompt slots a place")
        text = re.sub(r"\[P\](\*\d+)?", f"[P]*{count}", self.text)
        return Pattern.read(text, self.spelling)

    def without_slots(self) -> "Pattern":
        """The manual prompt that is left when the slots are taken out."""
        text = re.sub(r"\s*\[P\](\*\d+)?", "", self.text)
        return Pattern.parse(re.sub(r" {2,}", " ", text).strip())

    def cut_after_target(self) -> "Pattern":
        """The pattern up to its target: what a causal model can see of it.

        Raises:
            UserError: a field stands behind the target, so that the model would miss it.
        """
        end = next(i for i, piece in enumerate(self.pieces) if isinstance(piece, Target)) + 1
        lost = [
            n for piece in self.pieces[end:] if isinstance(piece, TextPiece) for n in piece.names
        ]
        if lost:
            raise UserError(
                f"pattern {self.text!r}: a causal model sees nothing behind the target, so it "
                f"would miss {', '.join(lost)}; choose another pattern or a masked model"
            )
        return replace(self, pieces=self.pieces[:end])

    def usable_by(self, kind: Kind) -> "Pattern":
        """What a kind of model can use of it: a causal one, the pieces up to the target.

        Raises:
            UserError: a causal model would miss a field of the record or a prompt slot, or has a
                reference pattern, for which there is no published one.
        """
        if kind == "masked" or not any(isinstance(piece, Target) for piece in self.pieces):
            return self
        if self.spelling == "reference":
            raise UserError(
                "the reference spelling is for masked models only: the published code tunes none "
                "of the other kind on SuperGLUE; use --spelling correct"
            )
        cut = self.cut_after_target()
        if cut.num_slots != self.num_slots:
            raise UserError(
                f"pattern {self.text!r}: a causal model sees nothing behind the target [Y], so "
                "slots there cannot be tuned; move them in front of it"
            )
        return cut


def _from_tuple(text: str) -> str:
    """Rewrite "(3, sub, 3, obj)" in bracket notation; runs of zero slots vanish."""
    names = {"sub": "[X]", "obj": "[Y]"}
    items = []
    for item in text.strip().strip("()").split(","):
        item = item.strip()
        if item.isdecimal():
            items += [f"[P]*{item}"] if item.strip("0") else []
        elif item in names:
            items.append(names[item])
        elif item:
            raise UserError(
                f"pattern {text!r}: unknown placeholder {item!r}; a tuple holds numbers of "
                "prompt slots, 'sub' and 'obj', as in (3, sub, 3, obj)"
            )
    return " ".join(items)


def _pieces(text: str, *, exact: bool = False) -> list[Piece]:
    """Split the notation; a space in front of a text stays with that text.

    Byte-pair and SentencePiece vocabularies spell a space as the beginning of the next word. In
    front of a slot it would be a token of its own, so there it is dropped.
    """
    for match in [] if exact else _BRACKETED.finditer(text):
        if match[1] not in ("P", "X", "Y", "SEP"):
            raise UserError(
                f"pattern {text!r}: unknown placeholder [{match[1]}]; use {{name}} for a field "
                "([X] for a subject), [Y] for the target, [P] or [P]*N for prompt slots, [SEP]"
            )
    pieces: list[Piece] = []
    space = False
    position = 0

    def literal(part: str) -> None:
        nonlocal space
        if exact:
            pieces.extend([TextPiece(part)] if part else [])
        elif part.strip():
            pieces.append(TextPiece(part.strip(), space=space or part[0].isspace()))
            space = part[-1].isspace()
        else:
            space = space or bool(part)

    for match in _PLACEHOLDER.finditer(text):
        literal(text[position : match.start()])
        position = match.end()
        if match["count"] and match["mark"] != "P":
            raise UserError(
                f"pattern {text!r}: {match[0]!r} is not allowed; only [P] can be repeated"
            )
        if match["field"] or match["mark"] == "X":
            expression = match["field"] or SUBJECT
            check_filters(expression)
            pieces.append(TextPiece(f"{{{expression}}}", bool(match["cut"]), space))
        elif match["mark"] == "Y":
            behind_slot = bool(pieces) and isinstance(pieces[-1], Slots)
            pieces.append(Target(space=not exact and (space or behind_slot)))
        else:
            pieces.append(_marked(text, match))
        space = False
    literal(text[position:])
    return pieces


def _whole_piece(stretch: str) -> Piece:
    """One stretch of a reference pattern."""
    match = _PLACEHOLDER.match(stretch)
    if match and match["mark"] == "Y":
        return Target(glued=stretch[match.end() :])
    if match and match["mark"] == "P":
        return _marked(stretch, match)
    cut = "...}" in stretch
    # "[SEP]" stays text: the published code writes these letters whatever the vocabulary.
    return TextPiece(stretch.replace("...}", "}"), cut)


def _marked(text: str, match: re.Match[str]) -> Piece:
    if match["mark"] == "SEP":
        return Separator()
    digits = (match["count"] or "1").lstrip("0")
    if not digits:
        raise UserError(f"pattern {text!r}: {match[0]!r} is not allowed; repeat [P] once or more")
    if len(digits) > len(str(_MOST_SLOTS)) or int(digits) > _MOST_SLOTS:
        raise UserError(
            f"pattern {shown(text)}: [P] is repeated more than {_MOST_SLOTS} times, which no model "
            "takes"
        )
    return Slots(int(digits))
