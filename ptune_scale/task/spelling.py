"""How the texts of a pattern are spelled in tokens: inside a sentence, or each on its own."""

from functools import lru_cache
from typing import Protocol

from ptune_scale.task.pattern import SpellingName
from ptune_scale.task.tokenization import Tokenization


class Spelling(Protocol):
    """Texts to token ids."""

    def text(self, text: str, space: bool, before: str | None) -> list[int]:
        """Token ids of a text.

        Args:
            space: whether a space separates it from what stands in front.
            before: the character in front of it; "" behind a slot or the target, None at the
                beginning of the input.
        """
        ...

    def separator(self) -> tuple[list[int], str]:
        """Token ids of a separator, and the character that it counts as."""
        ...

    def masks(self, count: int, glued: str) -> list[int]:
        """Token ids of a run of masks and the text glued to it."""
        ...


class CorrectSpelling:
    """Words are spelled as inside a sentence, with the space that the pattern writes."""

    def __init__(self, tokens: Tokenization) -> None:
        self._tokens = tokens
        self._cached = lru_cache(maxsize=4096)(self._spell)

    def text(self, text: str, space: bool, before: str | None) -> list[int]:
        return list(self._cached(text, space, before))

    def _spell(self, text: str, space: bool, before: str | None) -> list[int]:
        if before is None:
            return self._tokens.start(text)
        if space or (not before and not text[0].isalnum()):
            return self._tokens.after(" " * space + text)
        # Glued to a character: tokenized behind it, and its own tokens are cut off again.
        both, head = self._tokens.start(before + text), self._tokens.start(before)
        return both[len(head) :] if both[: len(head)] == head else self._tokens.start(text)

    def separator(self) -> tuple[list[int], str]:
        token = self._tokens.tokenizer.sep_token_id
        if self._tokens.kind == "masked" and token is not None:
            return [token], ""
        return self._tokens.after("\n"), "\n"

    def masks(self, count: int, glued: str) -> list[int]:
        return [self._tokens.mask_token] * count


class ReferenceSpelling:
    """Each piece is tokenized on its own, as the published few-shot code does.

    Its RoBERTa tokenizer puts a space in front of a piece that does not begin with one, and spells
    a space at the end; those of ALBERT and BERT drop spaces around a piece.
    """

    def __init__(self, tokens: Tokenization) -> None:
        self._tokens = tokens
        first = tokens.tokenizer.convert_ids_to_tokens(tokens.start(" a"))[0]
        self._adds_space = first.startswith("Ġ")
        self._cached = lru_cache(maxsize=4096)(self._spell)

    def text(self, text: str, space: bool, before: str | None) -> list[int]:
        return list(self._cached(text))

    def _spell(self, text: str) -> list[int]:
        if not self._adds_space:
            return self._tokens.start(text.strip())
        return self._tokens.start(text if text[0] == " " else " " + text)

    def separator(self) -> tuple[list[int], str]:
        raise AssertionError("a reference pattern writes its separator as text")

    def masks(self, count: int, glued: str) -> list[int]:
        mask = self._tokens.tokenizer.mask_token
        if mask is None:
            return [self._tokens.mask_token] * count  # raises, with the reason
        ids = self._spell(mask * count + glued)
        # The reference's mask token swallows the space in front of it.
        return ids[ids.index(self._tokens.mask_token) :]


class ChatSpelling(CorrectSpelling):
    """Everything is spelled exactly as written, special tokens included."""

    def text(self, text: str, space: bool, before: str | None) -> list[int]:
        return self._tokens.start(text)


_SPELLINGS: dict[SpellingName, type[CorrectSpelling] | type[ReferenceSpelling]] = {
    "correct": CorrectSpelling,
    "reference": ReferenceSpelling,
    "chat": ChatSpelling,
}


def spelling_of(name: SpellingName, tokens: Tokenization) -> Spelling:
    """The spelling of a name."""
    return _SPELLINGS[name](tokens)
