"""The word embeddings of a backbone, read where they are stored, whatever becomes of the model.

Shapes: V vocabulary, H embedding size (ALBERT's is smaller than its layers').
"""

from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor

_SAMPLE = 1 << 14


class WordEmbeddings:
    """What the model's layers get for each word: rows of the embedding matrix (V, H), in fp32.

    Args:
        size: V.
        read: returns rows from a first to behind a last one.
        scale: the embedding module multiplies by it what it looks up (Gemma's and BART's do).
    """

    def __init__(self, size: int, read: Callable[[int, int], Tensor], scale: float = 1.0) -> None:
        self.size = size
        self._read = read
        self._scale = scale

    def rows(self, start: int, stop: int) -> Tensor:
        """(stop - start, H)."""
        return self._read(start, stop).detach().float() * self._scale

    def of(self, tokens: Iterable[int]) -> Tensor:
        """Embeddings of some tokens, (len(tokens), H)."""
        return torch.cat([self.rows(token, token + 1) for token in tokens])

    @cached_property
    def sample(self) -> Tensor:
        """The first rows, at most 16,384: enough to know where words lie."""
        return self.rows(0, min(self.size, _SAMPLE))

    @cached_property
    def center(self) -> Tensor:
        """Mean of the sample, (H,)."""
        return self.sample.mean(dim=0)

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the sample's numbers."""
        return float(self.sample.std())
