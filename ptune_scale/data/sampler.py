"""Which facts make up a training step: a function of the seed and of visits already made.

A step visits a few relations and takes a few facts of each, or as many as fit into some tokens.
Relations take turns; the facts of a relation come in an order of its own, which depends on the
seed, the relation and how often it was visited, and on nothing else in the job.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from ptune_scale.prompt import stable_seed

_CHUNKS_PER_POOL = 8


class Sized(Protocol):
    """An example that is so many tokens long."""

    @property
    def num_tokens(self) -> int: ...


class RelationOrder:
    """The order in which one relation's training examples are used.

    Each epoch is a new permutation that holds every example once. Within pools of a few chunks,
    examples are sorted by length, so that those in a chunk need little padding.

    With a token budget the whole epoch is one pool: the number of chunks would otherwise depend on
    which lengths meet, and with it the length of an epoch. Sorted lengths are the same in every
    epoch, so they are cut at the same places; what changes is who stands where among examples of
    equal length, and when each chunk comes.

    Args:
        facts_per_visit: size of a chunk; the last one of an epoch may be smaller.
        tokens_per_visit: most tokens in a chunk, padding not counted, instead of
            ``facts_per_visit``; a longer example is a chunk of its own.

    Attributes:
        visits_per_epoch: number of chunks in each epoch.
    """

    def __init__(
        self,
        relation_id: str,
        examples: Sequence[Sized],
        facts_per_visit: int,
        seed: int,
        *,
        tokens_per_visit: int | None = None,
    ) -> None:
        self.relation_id = relation_id
        self.examples = examples
        self.facts_per_visit = facts_per_visit
        self.seed = seed
        self._cuts: list[slice] | None = None
        self.visits_per_epoch = -(-len(examples) // facts_per_visit)
        if tokens_per_visit is not None:
            self._cuts = cut_by_tokens(sorted(map(_length, examples)), tokens_per_visit)
            self.visits_per_epoch = len(self._cuts)
        self._epoch = -1
        self._chunks: list[list[Sized]] = []

    @property
    def mean_facts(self) -> float:
        """Facts in a chunk, averaged over an epoch."""
        return len(self.examples) / self.visits_per_epoch

    def chunk(self, visit: int) -> list[Sized]:
        """The examples of the relation's visit number ``visit``, counted from 0."""
        epoch, place = divmod(visit, self.visits_per_epoch)
        if epoch != self._epoch:
            self._chunks = self._shuffle(epoch)
            self._epoch = epoch
        return self._chunks[place]

    def _shuffle(self, epoch: int) -> list[list[Sized]]:
        generator = torch.Generator()
        generator.manual_seed(stable_seed(self.seed, "order", self.relation_id, epoch))
        order = torch.randperm(len(self.examples), generator=generator).tolist()
        examples = [self.examples[i] for i in order]
        if self._cuts is None:
            chunks = self._chunks_of_facts(examples)
        else:
            examples.sort(key=_length)  # stable: examples of equal length stay in random order
            chunks = [examples[cut] for cut in self._cuts]
        shuffled = torch.randperm(len(chunks), generator=generator).tolist()
        return [chunks[i] for i in shuffled]

    def _chunks_of_facts(self, examples: Sequence[Sized]) -> list[list[Sized]]:
        size = self.facts_per_visit
        chunks = []
        for start in range(0, len(examples), size * _CHUNKS_PER_POOL):
            pool = sorted(examples[start : start + size * _CHUNKS_PER_POOL], key=_length)
            chunks += [pool[i : i + size] for i in range(0, len(pool), size)]
        return chunks


def cut_by_tokens(
    lengths: Sequence[int], tokens: int | None, *, rows: int | None = None, padded: bool = False
) -> list[slice]:
    """Cut a sorted list into consecutive chunks, each as large as the limits allow.

    Args:
        lengths: tokens of each example, ascending.
        tokens: most tokens in a chunk; an example that is longer is a chunk of its own.
        rows: most examples in a chunk.
        padded: count each example of a chunk as long as its longest.

    Returns:
        the chunks in order; together they cover the list.
    """
    cuts = []
    start = total = 0
    for end, length in enumerate(lengths):
        count = end - start + 1
        size = count * length if padded else total + length
        too_many = rows is not None and count > rows
        too_long = tokens is not None and size > tokens
        if end > start and (too_many or too_long):
            cuts.append(slice(start, end))
            start, total = end, 0
        total += length
    if lengths:
        cuts.append(slice(start, len(lengths)))
    return cuts


def _length(example: Sized) -> int:
    return example.num_tokens


def choose_relations(
    visits: Sequence[int], eligible: Sequence[int], count: int, seed: int
) -> list[int]:
    """The relations of the next step: those visited least, ties in an order that varies.

    Args:
        visits: how often each relation was visited.
        eligible: relations that may still be visited.
    """

    def urgency(relation: int) -> tuple[int, int]:
        return visits[relation], stable_seed(seed, "turn", relation, visits[relation])

    return sorted(sorted(eligible, key=urgency)[:count])
