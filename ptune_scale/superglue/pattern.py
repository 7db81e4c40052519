"""A pattern: how the texts of a record, literal words, prompt slots and the target are ordered.

The notation::

    "{passage...}. [P] Question: {question...}? Answer: [Y]."

``{name}`` is a text of the record, and ``...`` says that it may be cut if the row is too long, the
last such text first. (The reference implementation's patterns may lose a whole question this way;
in ours only the texts asked about are cut.)
``[P]`` or ``[P]*N`` are prompt slots, ``[SEP]`` a separator between texts, ``[Y]`` the target.
Any other words are anchors (Liu et al. 2021, section 3.2). A pattern without slots is a manual one.

A reference pattern has the same parts with a bar wherever the reference implementation calls the
tokenizer anew, because the pieces then differ in their tokens: "?" on its own is not the "?" that
follows a word, in a SentencePiece vocabulary.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ptune_scale.errors import UserError
from ptune_scale.template import Slots, Target
from ptune_scale.tokenization import Kind

Layout = Literal["correct", "reference"]

_PLACEHOLDER = re.compile(r"\{(?P<name>\w+)(?P<cut>\.\.\.)?\}|\[(?P<mark>P|Y|SEP)\](?:\*(\d+))?")


@dataclass(frozen=True, slots=True)
class Words:
    """Text of a record or of the pattern itself.

    Attributes:
        text: literal text, in which ``{name}`` stands for an attribute of the record.
        shortenable: whether it may be cut.
        space: whether a space separates it from what stands in front.
    """

    text: str
    shortenable: bool = False
    space: bool = False

    @property
    def names(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.text)


@dataclass(frozen=True, slots=True)
class Separator:
    """The tokenizer's separator token; a line break for a causal model."""


@dataclass(frozen=True, slots=True)
class SpacedTarget(Target):
    """The place of the answer.

    Attributes:
        space: whether the answer is spelled with a space in front.
        glued: literal text that the reference tokenizes in one call with the masks.
    """

    space: bool = True
    glued: str = ""


Piece = Words | Slots | Separator | SpacedTarget


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern.

    Attributes:
        text: the notation that it was made from.
        pieces: what it consists of, in order.
        words: the word that stands for each label, by the label's name; empty where the answers
            are the record's own texts.
        layout: how the pieces become tokens.
    """

    text: str
    pieces: tuple[Piece, ...] = field(compare=False, repr=False)
    words: Mapping[str, str] = field(default_factory=dict, compare=False)
    layout: Layout = "correct"

    @classmethod
    def parse(cls, text: str, words: Mapping[str, str] | None = None) -> "Pattern":
        """Read the notation.

        Raises:
            UserError: there is not exactly one target, or a run of no slots.
        """
        return cls._checked(text, _pieces(text), words or {}, "correct")

    @classmethod
    def reference(cls, text: str, words: Mapping[str, str] | None = None) -> "Pattern":
        """Read the notation with bars: each stretch between them is tokenized on its own."""
        pieces = [_whole_piece(stretch) for stretch in text.split("|")]
        return cls._checked(text, pieces, words or {}, "reference")

    @classmethod
    def untargeted(cls, text: str) -> "Pattern":
        """Read the notation of texts that are classified as they stand: nothing is asked.

        Raises:
            UserError: there is a target or a slot.
        """
        pattern = cls(text, tuple(_pieces(text)))
        if any(isinstance(piece, SpacedTarget | Slots) for piece in pattern.pieces):
            raise UserError(f"pattern {text!r} is to be classified: leave out [Y] and [P]")
        return pattern

    @classmethod
    def _checked(
        cls, text: str, pieces: list[Piece], words: Mapping[str, str], layout: Layout
    ) -> "Pattern":
        targets = sum(isinstance(piece, SpacedTarget) for piece in pieces)
        if targets != 1:
            raise UserError(
                f"pattern {text!r} has {targets or 'no'} targets; write [Y] exactly once"
            )
        return cls(text, tuple(pieces), words, layout)

    @property
    def num_slots(self) -> int:
        """Number of prompt slots, counted over the whole pattern."""
        return sum(piece.count for piece in self.pieces if isinstance(piece, Slots))

    @property
    def names(self) -> list[str]:
        """The attributes of a record that it uses, in order."""
        return [n for piece in self.pieces if isinstance(piece, Words) for n in piece.names]

    def with_slots(self, count: int) -> "Pattern":
        """The same pattern with ``count`` slots wherever it has some.

        Raises:
            UserError: the pattern has none or is a reference one, or ``count`` is not positive.
        """
        if count < 1 or not self.num_slots or self.layout == "reference":
            raise UserError(f"pattern {self.text!r} cannot have {count} prompt slots a place")
        return Pattern.parse(re.sub(r"\[P\](\*\d+)?", f"[P]*{count}", self.text), self.words)

    def usable_by(self, kind: Kind) -> "Pattern":
        """What a kind of model can use of it: a causal one, the pieces up to the target.

        Raises:
            UserError: a causal model would miss a text of the record, or has the reference
                layout, for which there is no published one.
        """
        if kind == "masked":
            return self
        if self.layout == "reference":
            raise UserError(
                "the reference layout is for masked models only: the reference implementation "
                "tunes none of the other kind on SuperGLUE; use the correct layout"
            )
        end = next(i for i, piece in enumerate(self.pieces) if isinstance(piece, SpacedTarget)) + 1
        lost = [n for piece in self.pieces[end:] if isinstance(piece, Words) for n in piece.names]
        if lost:
            raise UserError(
                f"pattern {self.text!r}: a causal model sees nothing behind the target, so it "
                f"would miss {', '.join(lost)}; choose another pattern or a masked model"
            )
        return replace(self, pieces=self.pieces[:end])


def _pieces(text: str) -> list[Piece]:
    """Split the notation; a space in front of a text stays with that text.

    Byte-pair and SentencePiece vocabularies spell a space as the beginning of the next word. In
    front of a slot it would be a token of its own, so there it is dropped.
    """
    pieces: list[Piece] = []
    space = False
    position = 0

    def literal(part: str) -> None:
        nonlocal space
        if part.strip():
            pieces.append(Words(part.strip(), space=space or part[0].isspace()))
            space = part[-1].isspace()
        else:
            space = space or bool(part)

    for match in _PLACEHOLDER.finditer(text):
        literal(text[position : match.start()])
        position = match.end()
        if match["name"]:
            pieces.append(Words(f"{{{match['name']}}}", bool(match["cut"]), space))
        elif match["mark"] == "Y":
            behind_slot = bool(pieces) and isinstance(pieces[-1], Slots)
            pieces.append(SpacedTarget(space=space or behind_slot))
        else:
            pieces.append(_marked(text, match))
        space = False
    literal(text[position:])
    return pieces


def _whole_piece(stretch: str) -> Piece:
    """One stretch of a reference pattern."""
    match = _PLACEHOLDER.match(stretch)
    if match and match["mark"] == "Y":
        return SpacedTarget(glued=stretch[match.end() :])
    if match and match["mark"] == "P":
        return _marked(stretch, match)
    cut = "...}" in stretch
    # "[SEP]" stays text: the reference writes these letters whatever the vocabulary.
    return Words(stretch.replace("...}", "}"), cut)


def _marked(text: str, match: re.Match[str]) -> Piece:
    if match["mark"] == "SEP":
        return Separator()
    count = int(match.group(4) or 1)
    if count < 1:
        raise UserError(
            f"pattern {text!r}: {match.group(0)!r} is not allowed; repeat [P] once or more"
        )
    return Slots(count)
