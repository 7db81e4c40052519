"""Texts that clients may name instead of sending them again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_ENTRY_BYTES = 512
"""What a text takes beside its tokens, roughly."""


class SentTexts:
    """Token ids of texts, by client and name; where there is no room, the oldest go.

    Nobody finds what another has sent. Of all clients, whoever holds the most loses its least
    recently used: one that sends a lot drives out no text of another that sends little.

    Args:
        most_bytes: that all of them hold.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held = 0
        self._lock = threading.Lock()
        self._texts: dict[str, OrderedDict[bytes, Tensor]] = {}
        self._held_by: dict[str, int] = {}

    def of(self, who: str) -> "TextsOf":
        """Those of one client."""
        return TextsOf(self, who)

    def find(self, who: str, name: bytes) -> Tensor | None:
        """A text's tokens; None if it was not sent, or is forgotten."""
        with self._lock:
            texts = self._texts.get(who, OrderedDict())
            if name in texts:
                texts.move_to_end(name)
            return texts.get(name)

    def keep(self, who: str, name: bytes, text: Tensor) -> None:
        """Take note of a text, and forget others if there are too many."""
        with self._lock:
            texts = self._texts.setdefault(who, OrderedDict())
            if name not in texts:
                texts[name] = text
                self._count(who, _size(text))
            texts.move_to_end(name)
            while self.held > self.most_bytes:
                most = max(self._held_by, key=self._held_by.__getitem__)
                self._count(most, -_size(self._texts[most].popitem(last=False)[1]))

    def _count(self, who: str, size: int) -> None:
        self.held += size
        self._held_by[who] = self._held_by.get(who, 0) + size
        if not self._held_by[who]:
            del self._held_by[who], self._texts[who]


@dataclass(frozen=True)
class TextsOf:
    """The texts of one client; see ``KnownTexts``."""

    texts: SentTexts
    who: str

    def find(self, name: bytes) -> Tensor | None:
        return self.texts.find(self.who, name)

    def keep(self, texts: Mapping[bytes, Tensor]) -> None:
        for name, text in texts.items():
            self.texts.keep(self.who, name, text)


def _size(text: Tensor) -> int:
    return text.nbytes + _ENTRY_BYTES
