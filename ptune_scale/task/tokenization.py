"""What patterns and answers need of a tokenizer, the same for BPE, SentencePiece and WordPiece."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

from transformers import PreTrainedTokenizerBase

from ptune_scale.errors import UserError
from ptune_scale.task.pattern import Kind

# Text is tokenized behind this letter and the letter's tokens are cut off again: the one way to
# learn how a tokenizer spells a word in the middle of a sentence that works for all families.
_CARRIER = "a"


class Tokenization:
    """Encodes pieces of a cloze sentence for one backbone.

    Args:
        tokenizer: any Hugging Face tokenizer.
        kind: "causal" (the target is predicted after the last token) or "masked".
        vocab_size: number of logits, which may be more than the tokenizer has tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, kind: Kind, vocab_size: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.kind: Kind = kind
        self.vocab_size = vocab_size or len(tokenizer)
        self._carrier = self._encode(_CARRIER)
        self._word_token = lru_cache(maxsize=None)(self._find_word_token)

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def start(self, text: str) -> list[int]:
        """Token ids of ``text`` at the beginning of the input."""
        return self._encode(text)

    def plain(self, text: str) -> list[int]:
        """Token ids of a text as it stands, in which special tokens are letters like any others."""
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return found["input_ids"]

    def after(self, text: str) -> list[int]:
        """Token ids of ``text`` where other tokens (a prompt, a target) stand before it.

        A leading space in ``text`` matters: " Norway" continues with a new word.
        """
        ids = self._encode(_CARRIER + text)
        n = len(self._carrier)
        return ids[n:] if ids[:n] == self._carrier else self._encode(text)

    def word_token(self, word: str) -> int | None:
        """The one token that spells ``word`` inside a sentence, or None if it takes several."""
        return self._word_token(word)

    def _find_word_token(self, word: str) -> int | None:
        ids = self.after(" " + word)
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id or ids[0] >= self.vocab_size:
            return None
        return ids[0]

    def check_known(self, ids: Sequence[int], whose: str) -> None:
        """Make sure that the model has all tokens of a row or an answer.

        Raises:
            UserError: the tokenizer has one that the model does not.
        """
        if ids and (token := max(ids)) >= self.vocab_size:
            raise UserError(
                f"{whose}: {self.tokenizer.decode([token])!r} is token {token} of a tokenizer of "
                f"{len(self.tokenizer)}, but the model has {self.vocab_size}; leave "
                "such records out, or add rows to the model (resize_token_embeddings)"
            )

    def word_tokens(self, words: Iterable[str]) -> list[int]:
        """Sorted, distinct ids of those words that are a single token."""
        ids = (self.word_token(word) for word in words)
        return sorted({token for token in ids if token is not None})

    @cached_property
    def special_ends(self) -> tuple[list[int], list[int]]:
        """Special tokens that the tokenizer itself puts before and after a text.

        A causal model gets only those before it: what follows the target is never seen.
        """
        bare = self._carrier
        full = self.tokenizer(_CARRIER)["input_ids"]
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                after = full[start + len(bare) :]
                return full[:start], [] if self.kind == "causal" else after
        return [], []

    @cached_property
    def digest(self) -> str:
        """Identity of how texts are spelled, which is not in a model's weights."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        text = (
            fast.to_str() if fast is not None else str(sorted(self.tokenizer.get_vocab().items()))
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def mask_token(self) -> int:
        """Id of the mask token.

        Raises:
            ValueError: the tokenizer has none, so the model is not a masked one.
        """
        if self.tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask token: not a masked language model")
        return self.tokenizer.mask_token_id

    @property
    def placeholder(self) -> int:
        """A valid id for places whose embedding is replaced (prompt slots, padding)."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.unk_token_id):
            if token is not None:
                return token
        return 0

    @property
    def end_token(self) -> int:
        """What a text answer is trained to end with: the end-of-sequence token, or a line break."""
        token = self.tokenizer.eos_token_id
        return self.after("\n")[-1] if token is None else token

    def text(self, token: int) -> str:
        """One token as a reader would write it, without the space before it."""
        return self.tokenizer.decode([token]).strip()

    def texts(self, tokens: Sequence[int]) -> list[str]:
        """Each token on its own, with the space before it where the tokenizer spells one."""
        return self.tokenizer.batch_decode([[token] for token in tokens])

    def texts_inside(self, tokens: Sequence[int]) -> list[str]:
        """Each token as it reads behind a word, with the space before it where it begins one."""
        pairs = [[*self._carrier, token] for token in tokens]
        decoded = self.tokenizer.batch_decode(pairs, clean_up_tokenization_spaces=False)
        before = len(self.tokenizer.decode(self._carrier, clean_up_tokenization_spaces=False))
        return [text[before:] for text in decoded]

    def text_after(self, tokens: Sequence[int]) -> str:
        """What tokens spell where others stand before them, with the space that begins a word."""

        def spell(ids: list[int]) -> str:
            return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

        return spell([*self._carrier, *tokens])[len(spell(self._carrier)) :]
