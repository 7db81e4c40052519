"""Texts by name: what stands before the slots of rows crosses the network once.

A text is known by the digest of its tokens. A request names those that the server was told before
and tells the others, each once, however many of its rows begin with it. A server that has forgotten
one says so, and is told all texts of the request: whichever server is asked then, behind one
address, needs to know none.

Shapes: N rows, M names, D texts that are told, T tokens.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol

import numpy
import torch
from torch import Tensor

from ptune_scale.backbone.text_cache import Tokens, text_of
from ptune_scale.parallel.remote.message import numbers_of, require, tensor_of
from ptune_scale.parallel.remote.rows import Limits, decode_lengths
from ptune_scale.task.example import NO_SLOT, Batch, Example

_NAME_BYTES = hashlib.sha256().digest_size
_NO_TEXT = -1
_SHORTEST = 16
"""Tokens: to name a shorter text saves next to nothing."""

_MOST_NAMES = 1 << 16
_LONGEST_PAUSE = 64


class Forgotten(Exception):
    """Texts that a request names are not known here."""


class KnownTexts(Protocol):
    """What a server keeps of somebody's texts."""

    def find(self, name: bytes) -> Tensor | None:
        """The tokens of a text; None if it is not known."""

    def keep(self, texts: Mapping[bytes, Tensor]) -> None:
        """Take note of the tokens of texts, by name."""


@dataclass(frozen=True)
class Split:
    """A batch, and the texts that its rows begin with.

    Attributes:
        texts: each once, as long as is worth a name.
        of_rows: of each row, which of the texts; -1 for none.
        rests: the batch, whose rows lack their texts; targets are counted from where these begin.
    """

    texts: Sequence[Tokens]
    of_rows: Sequence[int]
    rests: Batch

    @classmethod
    def of(cls, batch: Batch) -> "Split":
        """What rows of a batch begin with, and what is left of them."""
        numbers: dict[Tokens, int] = {}
        of_rows, rests = [], []
        for row in batch.examples:
            text = text_of(row)
            has_text = len(text) >= _SHORTEST
            of_rows.append(numbers.setdefault(text, len(numbers)) if has_text else _NO_TEXT)
            rests.append(_behind(row, len(text)) if has_text else row)
        return cls(list(numbers), of_rows, replace(batch, examples=tuple(rests)))

    @cached_property
    def names(self) -> list[bytes]:
        """Of the texts."""
        return [_name(numpy.array(text)) for text in self.texts]

    def tensors(self, known: Collection[bytes]) -> dict[str, Tensor]:
        """The texts as a body has them, beside the rests.

        Args:
            known: names that take the place of texts.
        """
        pairs = list(zip(self.texts, self.names, strict=True))
        named = [number for number, (_, name) in enumerate(pairs) if name in known]
        told = [number for number, (_, name) in enumerate(pairs) if name not in known]
        place = {number: at for at, number in enumerate((*named, *told))}
        names = b"".join(self.names[number] for number in named)
        flat = {
            "texts": [place.get(number, _NO_TEXT) for number in self.of_rows],
            "text_lengths": [len(self.texts[number]) for number in told],
            "text_ids": [token for number in told for token in self.texts[number]],
        }
        return {
            "names": torch.tensor(list(names), dtype=torch.uint8).view(-1, _NAME_BYTES),
            **{name: torch.tensor(values, dtype=torch.int32) for name, values in flat.items()},
        }


def join(
    tensors: Mapping[str, Tensor], limits: Limits, known: KnownTexts
) -> tuple[dict[str, Tensor], dict[bytes, Tensor]]:
    """The tensors of a batch whose rows are whole again, and the texts that were told, by name.

    Lengths are checked before anything is put together: many rows may name one long text.

    Raises:
        Forgotten: a text is named that is not known.
        Malformed: rows would be too long or too many; texts are not as they should be.
    """
    numbers = partial(numbers_of, tensors)
    lengths = decode_lengths(tensors, limits)
    count = len(lengths)
    names = tensor_of(tensors, "names", torch.uint8, 2)
    told_count = len(tensor_of(tensors, "text_lengths", torch.int32, 1))
    fits = names.shape[1] == _NAME_BYTES and len(names) + told_count <= count
    require(fits, f"names must be {_NAME_BYTES} bytes each, and texts no more than rows")
    told_lengths = numbers("text_lengths", told_count, 1, limits.longest + 1)
    told_ids = numbers("text_ids", int(told_lengths.sum()), 0, limits.words)
    of_rows = numbers("texts", count, _NO_TEXT, len(names) + told_count)
    used = of_rows[of_rows != _NO_TEXT].unique()
    require(len(used) == len(names) + told_count, "each text must stand before a row")
    if not len(used):
        return dict(tensors), {}
    found = [known.find(bytes(name.tolist())) for name in names]
    named = [text for text in found if text is not None]
    if len(named) < len(found):
        raise Forgotten(
            f"{len(found) - len(named)} of {len(found)} texts that are named are not known here: "
            "send them"
        )
    told = list(told_ids.split(told_lengths.tolist()))
    texts = [*named, *told]
    text_lengths = torch.tensor([*map(len, texts), 0])  # the last one, by -1: no text
    before = text_lengths[of_rows.long()]
    whole = (lengths + before).clamp(max=torch.iinfo(torch.int32).max).int()
    decode_lengths({"lengths": whole}, limits)
    rests = int(lengths.sum())
    ids = numbers("ids", rests, 0, limits.words)
    slots = tensor_of(tensors, "slots", torch.int32, 1)
    require(len(slots) == rests, f"slots must be {rests} numbers; got {len(slots)}")
    texts_end = int(text_lengths.sum())
    starts = torch.stack([_starts(text_lengths)[of_rows.long()], texts_end + _starts(lengths)], 1)
    places = _places(starts.flatten(), torch.stack([before, lengths], 1).flatten())
    joined = {
        "ids": torch.cat([*texts, ids])[places],
        "slots": torch.cat([slots.new_full((texts_end,), NO_SLOT), slots])[places],
        "lengths": whole,
    }
    return {**tensors, **joined}, {_name(text.numpy()): text.clone() for text in told}


def _starts(lengths: Tensor) -> Tensor:
    """Where each of some pieces begins that stand behind one another."""
    return lengths.cumsum(0) - lengths


def _places(starts: Tensor, lengths: Tensor) -> Tensor:
    """All places of pieces, one behind another; of many short rows no objects are made."""
    shifts = starts - _starts(lengths)
    return torch.arange(int(lengths.sum())) + shifts.repeat_interleave(lengths)


class Told:
    """Names of texts that a server was told, as long as it is believed to know them.

    Where texts are forgotten again and again, as by a server that keeps few, ever more requests
    tell all of theirs before names are tried again.
    """

    def __init__(self) -> None:
        self._names: dict[bytes, None] = {}
        self._misses = 0
        self._pause = 0

    def known(self, names: Iterable[bytes]) -> set[bytes]:
        """Which of the texts of a request are named this time."""
        if self._pause:
            self._pause -= 1
            return set()
        return {name for name in names if name in self._names}

    def forgot(self) -> None:
        """The server did not know one: it may have begun anew."""
        self._names.clear()
        self._misses += 1
        self._pause = min(1 << self._misses, _LONGEST_PAUSE) - 2

    def answered(self, names: Sequence[bytes], known: Collection[bytes]) -> None:
        """The server has answered a request of these texts, some of which it knew by name."""
        if known:
            self._misses = 0
        for name in names:
            self._names.pop(name, None)
            self._names[name] = None  # behind all others
        while len(self._names) > _MOST_NAMES:
            del self._names[next(iter(self._names))]


def _behind(row: Example, count: int) -> Example:
    """A row without its first tokens."""
    return replace(row, ids=row.ids[count:], slots=row.slots[count:])


def _name(tokens: numpy.ndarray) -> bytes:
    return hashlib.sha256(tokens.astype("<i4").tobytes()).digest()
