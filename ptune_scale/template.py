"""A cloze pattern: where prompt slots, literal words, the subject and the target stand.

Two notations give the same template (section 3.1 of Liu et al. 2021, arXiv:2103.10385)::

    "(3, sub, 3, obj)"              the paper's: numbers are runs of pseudo tokens
    "[P]*3 [X] [P]*3 [Y]"           the same, with places for literal anchor words

In the second one, any other text is literal: ``"[P]*3 [X] is located in [P] [Y]"``. A manual
prompt is simply a template without slots: ``"[X] was born in [Y] ."``.
"""

import re
from dataclasses import dataclass, field

from ptune_scale.errors import UserError
from ptune_scale.tokenization import Tokenization

NO_SLOT = -1
"""Slot number of a position that is not a prompt slot."""

_PLACEHOLDER = re.compile(r"\[(P|X|Y)\](?:\*(\d+))?")
_BRACKETED = re.compile(r"\[([^\[\]\s]*)\]")


@dataclass(frozen=True, slots=True)
class Slots:
    """A run of consecutive prompt slots."""

    count: int


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text with its own spacing, in which ``{}`` stands for the subject if present."""

    before: str
    has_subject: bool = False
    after: str = ""

    def fill(self, subject: str) -> str:
        return self.before + (subject if self.has_subject else "") + self.after


@dataclass(frozen=True, slots=True)
class Target:
    """The place of the word to predict."""


@dataclass(frozen=True)
class Cloze:
    """A template filled with one subject, as tokens.

    Attributes:
        ids: token ids, length T; a placeholder id stands at prompt slots.
        slots: slot number at each of the T positions, NO_SLOT elsewhere.
        target: the position whose output predicts the target word.
    """

    ids: tuple[int, ...]
    slots: tuple[int, ...]
    target: int


@dataclass(frozen=True)
class Template:
    """A validated cloze pattern.

    Attributes:
        pattern: the pattern in bracket notation.
        parts: what the pattern consists of, in order.
    """

    pattern: str
    parts: tuple[Slots | Text | Target, ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, pattern: str) -> "Template":
        """Read either notation.

        Raises:
            UserError: an unknown placeholder, not exactly one subject and one target, or a run of
                no slots.
        """
        pattern = _from_tuple(pattern) if pattern.strip().startswith("(") else pattern
        for match in _BRACKETED.finditer(pattern):
            if match.group(1) not in ("P", "X", "Y"):
                raise UserError(
                    f"template {pattern!r}: unknown placeholder [{match.group(1)}]; "
                    "use [X] for the subject, [Y] for the target, [P] or [P]*N for prompt slots"
                )
        for name, role in (("X", "subject"), ("Y", "target")):
            count = pattern.count(f"[{name}]")
            if count != 1:
                raise UserError(
                    f"template {pattern!r} has {count or 'no'} {role}s; write [{name}] exactly once"
                )
        return cls(pattern, tuple(_parts(pattern)))

    @property
    def num_slots(self) -> int:
        """Number of prompt slots S, counted over the whole pattern."""
        return sum(part.count for part in self.parts if isinstance(part, Slots))

    @property
    def text_after_target(self) -> str:
        """What stands behind [Y], slots included, as written in the pattern."""
        return self.pattern.partition("[Y]")[2].strip()

    def cut_after_target(self) -> "Template":
        """The template up to its target: what a causal model can see of a manual prompt.

        Raises:
            UserError: the subject stands behind the target, so that nothing would be left of it.
        """
        head, _, tail = self.pattern.partition("[Y]")
        if "[X]" in tail:
            raise UserError(
                f"template {self.pattern!r}: the subject stands behind the target, "
                "so a causal model cannot use it; reword it or use a masked model"
            )
        return Template.parse(head + "[Y]")

    def check(self, kind: str) -> None:
        """Make sure that a backbone of this kind can use the template.

        Raises:
            UserError: a causal model, and something stands behind the target.
        """
        if kind == "causal" and self.text_after_target:
            raise UserError(
                f"template {self.pattern!r}: a causal model predicts what comes next, so the "
                f"target [Y] must be last, but {self.text_after_target!r} follows it"
            )

    def render(self, subject: str, tokens: Tokenization, *, trailing_space: bool = False) -> Cloze:
        """Fill in a subject and tokenize.

        Args:
            trailing_space: causal models only: keep the space before [Y] as a token of its own
                instead of leaving it to the target's token.

        Raises:
            UserError: the template does not fit the kind of model (see ``check``), or it leaves
                a causal model with no token to predict from.
        """
        self.check(tokens.kind)
        prefix, suffix = tokens.special_ends
        ids: list[int] = list(prefix)
        slots: list[int] = [NO_SLOT] * len(prefix)
        target = -1
        next_slot = 0
        for index, part in enumerate(self.parts):
            if isinstance(part, Slots):
                ids += [tokens.placeholder] * part.count
                slots += range(next_slot, next_slot + part.count)
                next_slot += part.count
            elif isinstance(part, Target):
                if tokens.kind == "masked":
                    target = len(ids)
                    ids.append(tokens.mask_token)
                    slots.append(NO_SLOT)
                else:
                    target = len(ids) - 1
            else:
                text = part.fill(subject)
                # A space in front of a target belongs to the target's own token. In front of a
                # slot it would become a token of its own in a byte-pair tokenizer.
                if index + 1 < len(self.parts):
                    text = text.rstrip()
                if trailing_space and tokens.kind == "causal" and self._next_is_target(index):
                    text += " "
                text = text.lstrip() if index == 0 else text
                if text:
                    new = tokens.start(text) if len(ids) == len(prefix) else tokens.after(text)
                    ids += new
                    slots += [NO_SLOT] * len(new)
        ids += suffix
        slots += [NO_SLOT] * len(suffix)
        if target < 0:
            raise UserError(f"template {self.pattern!r} leaves nothing to predict the target from")
        return Cloze(tuple(ids), tuple(slots), target)

    def words_as_slots(self, tokens: Tokenization) -> tuple["Template", list[int]]:
        """This template with a slot in the place of each token of its literal words.

        Returns:
            the template, and the token id of each slot's word.

        Raises:
            UserError: it has no literal words.
        """
        pattern: list[str] = []
        words: list[int] = []

        def add(text: str) -> None:
            # The space before a word belongs to its token, the one behind it to what follows.
            text = text.rstrip()
            if text.strip():
                spell = tokens.after if pattern else tokens.start
                ids = spell(text if pattern else text.lstrip())
                words.extend(ids)
                pattern.append(f"[P]*{len(ids)}")

        for part in self.parts:
            if isinstance(part, Text):
                add(part.before)
                if part.has_subject:
                    pattern.append("[X]")
                    add(part.after)
            else:
                pattern.append("[Y]" if isinstance(part, Target) else f"[P]*{part.count}")
        if not words:
            raise UserError(f"template {self.pattern!r} has no words that prompts could begin as")
        return Template.parse(" ".join(pattern)), words

    def _next_is_target(self, index: int) -> bool:
        return index + 1 < len(self.parts) and isinstance(self.parts[index + 1], Target)


def _from_tuple(pattern: str) -> str:
    """Rewrite "(3, sub, 3, obj)" in bracket notation; runs of zero slots vanish."""
    names = {"sub": "[X]", "obj": "[Y]"}
    items = []
    for item in pattern.strip().strip("()").split(","):
        item = item.strip()
        if item.isdecimal():
            items += [f"[P]*{item}"] if int(item) else []
        elif item in names:
            items.append(names[item])
        elif item:
            raise UserError(
                f"template {pattern!r}: unknown placeholder {item!r}; a tuple holds numbers of "
                "prompt slots, 'sub' and 'obj', as in (3, sub, 3, obj)"
            )
    return " ".join(items)


def _parts(pattern: str) -> list[Slots | Text | Target]:
    parts: list[Slots | Text | Target] = []
    text = Text("")

    def flush() -> None:
        nonlocal text
        if text.has_subject or text.before.strip():
            parts.append(text)
        text = Text("")

    def write(literal: str) -> None:
        nonlocal text
        if text.has_subject:
            text = Text(text.before, True, text.after + literal)
        else:
            text = Text(text.before + literal)

    position = 0
    for match in _PLACEHOLDER.finditer(pattern):
        write(pattern[position : match.start()])
        position = match.end()
        name, count = match.group(1), match.group(2)
        if count is not None and (name != "P" or int(count) < 1):
            raise UserError(
                f"template {pattern!r}: {match.group(0)!r} is not allowed; "
                "only [P] can be repeated, once or more"
            )
        if name == "X":
            text = Text(text.before, True)
            continue
        flush()
        parts.append(Slots(int(count or 1)) if name == "P" else Target())
    write(pattern[position:])
    flush()
    return parts
