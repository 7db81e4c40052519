"""Keys and values of frozen texts: computed once, kept for every later step and evaluation.

In a causal model nothing before a row's first prompt slot depends on the prompt, so its keys and
values never change. They are kept in blocks of tokens; a block is known by all tokens up to its
end, so that texts which begin alike (demonstrations, a passage with many questions) share theirs.

Shapes: B texts, E tokens of the longest, D layers, C key-value heads, W size of a head.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ptune_scale.backbone.arrange import lead_length
from ptune_scale.backbone.lines import Lines, pack_behind
from ptune_scale.task.example import NO_ANSWER, NO_SLOT, Batch, Example

Tokens = tuple[int, ...]
LayerPast = tuple[Tensor, Tensor]
"""Keys and values (B, C, E, W) of one layer."""

_BLOCK = 64
# Texts of one pass, padding counted: enough to keep the machine busy.
_PASS_TOKENS = 4096
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
    before: list[LayerPast]
    missing: Sequence[Missing] = ()


def text_of(row: Example) -> Tokens:
    """The tokens before a row's slots and targets; none of a row without slots.

    Such a row is asked once: no prompt is tuned that it would be asked under again.
    """
    lead = lead_length(row)
    return row.ids[:lead] if row.slots[lead:].count(NO_SLOT) < row.num_tokens - lead else ()


def is_mostly_text(rows: Iterable[Example]) -> bool:
    """Whether it pays to keep what stands before the slots of these rows."""
    texts = tokens = 0
    for row in rows:
        texts += len(text_of(row))
        tokens += row.num_tokens
    return texts >= _WORTH_KEEPING * tokens


class TextCache:
    """Blocks of keys and values, the least recently used out first.

    Everything depends on the texts alone, in the order in which they came: ranks that see the same
    rows keep the same blocks.

    Args:
        limit: bytes to hold at most.

    Attributes:
        held: bytes.
        hits, misses: tokens of texts that were there when they were wanted, and that were not.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.hits = self.misses = 0
        self._bytes_per_token = 0
        self._blocks: OrderedDict[Tokens, Tensor] = OrderedDict()

    def fits(self, texts: Iterable[Tokens]) -> bool:
        """Whether these texts can be held all at once."""
        return sum(map(len, set(texts))) * self._bytes_per_token <= self.limit

    def known(self, text: Tokens, coming: frozenset[Tokens] | set[Tokens] = frozenset()) -> int:
        """How many of a text's first tokens are held, or are in blocks that are ``coming``."""
        known = 0
        for block in _blocks_of(text):
            if block not in self._blocks and block not in coming:
                break
            known = len(block)
        return known

    def plan(self, texts: Iterable[Tokens]) -> list[list[Missing]]:
        """What has to be computed until all texts are held, by passes.

        No two texts of a pass lack the same block: the second goes on behind it in the next one.
        """
        waiting = sorted(set(texts), key=lambda text: (len(text), text))
        found = [self.known(text) for text in waiting]
        self.hits += sum(found)
        self.misses += sum(map(len, waiting)) - sum(found)
        coming: set[Tokens] = set()
        passes = []
        while waiting:
            now: list[Missing] = []
            later = []
            begun: set[Tokens] = set()
            longest = 0
            for text in waiting:
                start = self.known(text, coming)
                if start == len(text):
                    continue
                first = next(block for block in _blocks_of(text) if len(block) > start)
                longer = max(longest, len(text) - start)
                if first in begun or (now and longer * (len(now) + 1) > _PASS_TOKENS):
                    later.append(text)
                    continue
                longest = longer
                begun.add(first)
                now.append(Missing(text, start))
            if now:
                passes.append(now)
            coming.update(block for text, _ in now for block in _blocks_of(text))
            waiting = later
        return passes

    def touch(self, texts: Iterable[Tokens]) -> None:
        """Take note that texts are used now; what they begin with goes out last."""
        for text in texts:
            for block in reversed(_blocks_of(text)):
                if block in self._blocks:
                    self._blocks.move_to_end(block)

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
            begin = (len(block) - 1) // _BLOCK * _BLOCK
            if begin < start:
                continue
            if block in self._blocks:
                continue
            # A copy: a view would keep the pass' whole tensor in memory.
            kept = computed[:, :, :, begin - start : len(block) - start].clone()
            self._bytes_per_token = kept.nbytes // kept.shape[3]
            self._blocks[block] = kept
            self.held += kept.nbytes

    def trim(self) -> None:
        """Let go of what was not used for longest, until the rest is within the limit."""
        while self.held > self.limit:
            self.held -= self._blocks.popitem(last=False)[1].nbytes

    def behind(self, batch: Batch, num_slots: int, *, length: int = 0) -> Behind | None:
        """A batch behind its texts; None where it has little text, or not all of it is held.

        Args:
            num_slots: S.
            length: not 0 for a line a row, in their order, of so many tokens.
        """
        if not is_mostly_text(batch.examples):
            return None
        texts = [text_of(row) for row in batch.examples]
        if any(self.known(text) < len(text) for text in set(texts)):
            return None
        lines, firsts = pack_behind(batch, list(map(len, texts)), num_slots, length=length)
        return Behind(lines, self.gather([texts[first] for first in firsts]))

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
        before = self.gather([text[:start] for text, start in missing])
        return batch, Behind(lines, before, missing)

    def gather(self, texts: Sequence[Tokens]) -> list[LayerPast]:
        """Keys and values of texts that are held, layer by layer; shorter ones end in zeros."""
        if not any(texts):
            return []
        block = self._blocks[next(_blocks_of(text)[0] for text in texts if text)]
        layers, _, heads, _, size = block.shape
        shape = (layers, 2, len(texts), heads, max(map(len, texts)), size)
        together = torch.empty(shape, dtype=block.dtype, device=block.device)
        for row, text in enumerate(texts):
            begin = 0
            for key in _blocks_of(text):
                together[:, :, row, :, begin : len(key)] = self._blocks[key]
                begin = len(key)
            together[:, :, row, :, begin:] = 0
        return [(layer[0], layer[1]) for layer in together]


def _blocks_of(text: Tokens) -> list[Tokens]:
    """The beginnings of a text that its blocks are known by, the shortest first."""
    whole = range(_BLOCK, len(text), _BLOCK)
    return [*(text[:end] for end in whole), text] if text else []
