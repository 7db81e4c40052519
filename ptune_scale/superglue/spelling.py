"""How the texts of a pattern are spelled in tokens, one spelling for each layout."""

from functools import lru_cache
from typing import Protocol

from ptune_scale.errors import UserError
from ptune_scale.superglue.pattern import Layout
from ptune_scale.tokenization import Tokenization


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


def spelling_of(layout: Layout, tokens: Tokenization) -> Spelling:
    """The spelling that a layout means."""
    return CorrectSpelling(tokens) if layout == "correct" else ReferenceSpelling(tokens)


def one_token(word: str, ids: list[int], tokens: Tokenization, role: str) -> int:
    """The only token of a label's word.

    Args:
        role: whose word it is, for the message.

    Raises:
        UserError: it takes several tokens, or is not in the vocabulary.
    """
    tokenizer = tokens.tokenizer
    if len(ids) == 1 and ids[0] not in tokenizer.all_special_ids:
        return ids[0]
    spelled = " ".join(tokenizer.convert_ids_to_tokens(ids))
    raise UserError(
        f"{role}: the word {word!r} is not one token for the tokenizer "
        f"{tokenizer.name_or_path or type(tokenizer).__name__} (it gives {spelled!r}); "
        "choose a pattern with other words, or another model"
    )
