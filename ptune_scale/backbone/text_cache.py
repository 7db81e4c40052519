"""Keys and values of frozen texts: computed once, kept for every later step and evaluation.

In a causal model nothing before a row's first prompt slot depends on the prompt, so its keys and
values never change. They are kept in blocks of tokens; a block is known by all tokens up to its
end, so that texts which begin alike (demonstrations, a passage with many questions) share theirs.

Shapes: B texts, E tokens of the longest, D layers, C key-value heads, W size of a head.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptune_scale.backbone.arrange import lead_length
from ptune_scale.backbone.lines import Lines, pack_behind
from ptune_scale.backbone.tiers import Tier
from ptune_scale.task.example import NO_ANSWER, NO_SLOT, Batch, Example

Tokens = tuple[int, ...]


class OwnedTokens(Tokens):
    """Tokens that are the same as others only where they are the same owner's.

    Else whoever sends a text would learn by its speed whether somebody else has sent it before.
    """

    owner: str

    @classmethod
    def of(cls, tokens: Iterable[int], owner: str) -> "OwnedTokens":
        made = cls(tokens)
        made.owner = owner
        return made

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return self.of(found, self.owner) if isinstance(index, slice) else found

    def __eq__(self, other: object) -> bool:
        own = isinstance(other, OwnedTokens) and other.owner == self.owner
        return own and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.owner, super().__hash__()))


LayerPast = tuple[Tensor, Tensor]
"""Keys and values (B, C, E, W) of one layer."""

BLOCK = 64
"""Tokens of a block; the last one of a text may have fewer."""

# Texts of one pass, padding counted: enough to keep the machine busy.
_PASS_TOKENS = 4096
# Bytes of all layers of texts that are put together for a CUDA graph.
_MOST_TOGETHER = 1 << 29
# A row is worth the second pass that computes its text if so much of it is text.
_WORTH_KEEPING = 0.5


class Missing(NamedTuple):
    """A text, and how many of its first tokens are known when its turn comes."""

    text: Tokens
    start: int


class Behind(NamedTuple):
    """Rows laid out behind what is known of them.

    Attributes:
        lines: what is to be computed.
        before: of each layer, keys and values of what stands before each line.
        missing: of each line, the text whose keys and values are kept; none where rows are asked.
    """

    lines: Lines
    before: Sequence[LayerPast]
    missing: Sequence[Missing] = ()


def text_of(row: Example) -> Tokens:
    """The tokens before a row's slots and targets; none of a row without slots.

    Such a row is asked once: no prompt is tuned that it would be asked under again.
    """
    lead = lead_length(row)
    if row.slots[lead:].count(NO_SLOT) == row.num_tokens - lead:
        return ()
    tokens = row.ids[:lead]
    return OwnedTokens.of(tokens, row.owner) if row.owner else tokens


def is_mostly_text(rows: Iterable[Example]) -> bool:
    """Whether it pays to keep what stands before the slots of these rows."""
    texts = tokens = 0
    for row in rows:
        texts += len(text_of(row))
        tokens += row.num_tokens
    return texts >= _WORTH_KEEPING * tokens


class TextCache:
    """Blocks of keys and values, the least recently used out first.

    What is too much for one tier moves on to the next, and is forgotten behind the last. A text
    that is wanted again is copied from wherever it lies.

    Args:
        tiers: where blocks lie, the fastest first.
        least: of each number, the least on all ranks that compute the same rows. These ranks have
            to make the same passes, but may keep unlike numbers of blocks in the same memory.

    Attributes:
        reused, computed: tokens of texts that were there when they were wanted, and that were not.
    """

    def __init__(
        self, *tiers: Tier, least: Callable[[list[int]], list[int]] = lambda numbers: numbers
    ) -> None:
        self.tiers = tiers
        self._least = least
        self.reused = self.computed = 0
        self._bytes_per_token = 0

    @property
    def held(self) -> int:
        """Bytes of all blocks."""
        return sum(tier.held for tier in self.tiers)

    def _tier_of(self, block: Tokens) -> Tier | None:
        return next((tier for tier in self.tiers if block in tier), None)

    def known(self, text: Tokens) -> int:
        """How many of a text's first tokens are held."""
        blocks = itertools.takewhile(self._tier_of, _blocks_of(text))
        return max(map(len, blocks), default=0)

    def complete(
        self,
        texts: Sequence[Tokens],
        compute: Callable[[Sequence[Missing] | None], None],
        agree: Callable[[int], int] = lambda number: number,
    ) -> bool:
        """Have all texts computed that are not held; returns whether all are held then.

        Args:
            compute: makes a pass that puts some texts here; any pass, for None, where other ranks
                lack more.
            agree: to how many passes all ranks agree.
        """
        planned = self.plan(texts)
        passes = planned or []
        for number in range(agree(len(passes))):
            compute(passes[number] if number < len(passes) else None)
            self.settle(texts)
        return planned is not None and self.holds(texts)

    def plan(self, texts: Iterable[Tokens]) -> list[list[Missing]] | None:
        """What has to be computed until all texts are held, by passes; None if they do not fit.

        No two texts of a pass lack the same block: the second goes on behind it in the next one.
        """
        waiting = sorted(set(texts), key=lambda text: (len(text), tuple(text), _owner(text)))
        limit = sum(tier.limit for tier in self.tiers)
        fits = int(sum(map(len, waiting)) * self._bytes_per_token <= limit)
        fits, *found = self._least([fits, *map(self.known, waiting)])
        if not fits:
            return None
        self.touch(waiting)
        self.reused += sum(found)
        self.computed += sum(map(len, waiting)) - sum(found)
        starts = dict(zip(waiting, found, strict=True))
        coming: set[Tokens] = set()
        passes = []
        while waiting:
            now: list[Missing] = []
            later = []
            begun: set[Tokens] = set()
            longest = 0
            for text in waiting:
                rest = [block for block in _blocks_of(text) if len(block) > starts[text]]
                rest = list(itertools.dropwhile(coming.__contains__, rest))
                if not rest:
                    continue
                start = (len(rest[0]) - 1) // BLOCK * BLOCK
                longer = max(longest, len(text) - start)
                if rest[0] in begun or (now and longer * (len(now) + 1) > _PASS_TOKENS):
                    later.append(text)
                    continue
                longest = longer
                begun.add(rest[0])
                now.append(Missing(text, start))
            if now:
                passes.append(now)
            coming.update(block for text, _ in now for block in _blocks_of(text))
            waiting = later
        return passes

    def holds(self, texts: Iterable[Tokens]) -> bool:
        """Whether all texts are held, on all ranks that compute the same rows."""
        return bool(self._least([int(all(self.known(t) == len(t) for t in set(texts)))])[0])

    def touch(self, texts: Iterable[Tokens]) -> None:
        """Take note that texts are used now; what they begin with goes out last."""
        for text in texts:
            for block in reversed(_blocks_of(text)):
                if tier := self._tier_of(block):
                    tier.touch(block)

    def put(self, missing: Sequence[Missing], computed: Sequence[LayerPast]) -> None:
        """Keep what was computed of texts.

        Args:
            computed: of each layer, keys and values (B, C, L, W) of their tokens from where each
                was missing; columns beyond them are padding.
        """
        for row, each in enumerate(missing):
            layers = [torch.stack((keys[row], values[row])) for keys, values in computed]
            self._put(each, torch.stack(layers))

    def _put(self, missing: Missing, computed: Tensor) -> None:
        text, start = missing
        for block in _blocks_of(text):
            begin = (len(block) - 1) // BLOCK * BLOCK
            if begin < start:
                continue
            if self._tier_of(block) is not None:
                continue
            kept = computed[:, :, :, begin - start : len(block) - start]
            self._bytes_per_token = kept.nbytes // kept.shape[3]
            self.tiers[0].put(block, kept)

    def settle(self, texts: Iterable[Tokens]) -> None:
        """Move on, or forget, what was not used for longest, until all tiers are within limits.

        Args:
            texts: of the batch at hand: they are used now.
        """
        self.touch(texts)
        for number, tier in enumerate(self.tiers):
            while tier.held > tier.limit:
                block, kept = tier.pop_oldest()
                if number + 1 < len(self.tiers):
                    self.tiers[number + 1].put(block, kept)

    def behind(
        self,
        batch: Batch,
        num_slots: int,
        *,
        length: int = 0,
        rounds: Callable[[int], bool] = lambda num_tokens: False,
    ) -> Behind:
        """A batch behind its texts, which are held.

        Args:
            num_slots: S.
            length: not 0 for a line a row, in their order, of so many tokens.
            rounds: whether sizes are rounded up where so many tokens, padding with them, are to be
                computed.
        """
        texts = [text_of(row) for row in batch.examples]
        known = list(map(len, texts))
        rounded = rounds(batch.num_tokens - sum(known))
        lines, firsts = pack_behind(batch, known, num_slots, length=length, rounded=rounded)
        num_bytes = len(lines.ids) * lines.most_known * self._bytes_per_token
        if rounded and (num_bytes > _MOST_TOGETHER or not rounds(lines.ids.numel())):
            lines, firsts = pack_behind(batch, known, num_slots, length=length)
        return Behind(lines, self._before([texts[first] for first in firsts], lines))

    def behind_missing(
        self, missing: Sequence[Missing], device: torch.device, *, length: int = 0
    ) -> tuple[Batch, Behind]:
        """What a pass has to compute, as rows without slots, a line each.

        Args:
            length: of lines; 0 for what the longest needs.
        """
        rows = tuple(
            Example(0, text, (NO_SLOT,) * len(text), (len(text) - 1,), (NO_ANSWER,))
            for text, _ in missing
        )
        batch = Batch(rows, (0.0,) * len(rows), device=device)
        length = length or max(len(text) - start for text, start in missing)
        lines, _ = pack_behind(batch, [start for _, start in missing], 0, length=length)
        return batch, Behind(
            lines, self._before([t[:start] for t, start in missing], lines), missing
        )

    def _before(self, texts: Sequence[Tokens], lines: Lines) -> Sequence[LayerPast]:
        """Keys and values of texts that are held, layer by layer; shorter ones end in zeros.

        For a backward pass and a CUDA graph all layers are needed at once; else each is put
        together when its turn comes, so that one is in memory at a time.

        Args:
            texts: of the first lines; there is nothing before others.
        """
        if not any(texts):
            return []
        device = lines.ids.device
        blocks = [[self._get(block) for block in _blocks_of(text)] for text in texts]
        blocks += [[] for _ in range(len(lines.ids) - len(texts))]
        if torch.is_grad_enabled() or lines.rounded:
            return _together(blocks, slice(None), lines.most_known, device)
        return _Layers(blocks, lines.most_known, device)

    def _get(self, block: Tokens) -> Tensor:
        tier = self._tier_of(block)
        assert tier is not None
        return tier.get(block)


class _Layers(Sequence[LayerPast]):
    """Keys and values of texts, of which a layer is put together each time that it is asked for.

    Args:
        blocks: (D, 2, C, ., W) of each text.
        longest: E.
    """

    def __init__(
        self, blocks: Sequence[Sequence[Tensor]], longest: int, device: torch.device
    ) -> None:
        self._blocks = blocks
        self._longest = longest
        self._device = device

    def __len__(self) -> int:
        return next(len(text[0]) for text in self._blocks if text)

    def __getitem__(self, layer: Any) -> Any:
        layer = range(len(self))[layer]
        part = slice(layer, layer + 1)
        return _together(self._blocks, part, self._longest, self._device)[0]


def _together(
    blocks: Sequence[Sequence[Tensor]], layers: slice, longest: int, device: torch.device
) -> list[LayerPast]:
    """Keys and values (B, C, E, W) of some layers, from the blocks of each text."""
    some = next(text[0][layers] for text in blocks if text)
    count, _, heads, _, size = some.shape
    shape = (count, 2, len(blocks), heads, longest, size)
    together = torch.empty(shape, dtype=some.dtype, device=device)
    for row, text in enumerate(blocks):
        begin = 0
        for block in text:
            end = begin + block.shape[3]
            together[:, :, row, :, begin:end] = block[layers]
            begin = end
        together[:, :, row, :, begin:] = 0
    return [(keys, values) for keys, values in together]


def _owner(text: Tokens) -> str:
    return text.owner if isinstance(text, OwnedTokens) else ""


def _blocks_of(text: Tokens) -> list[Tokens]:
    """The beginnings of a text that its blocks are known by, the shortest first."""
    whole = range(BLOCK, len(text), BLOCK)
    return [*(text[:end] for end in whole), text] if text else []
