"""Which facts make up a training step: a function of the seed and of visits already made.

A step visits a few relations and takes a few facts of each. Relations take turns; the facts of a
relation come in an order of its own, which depends on the seed, the relation and how often it was
visited, and on nothing else in the job.
"""

from collections.abc import Sequence

import torch

from ptune_scale.data.batch import Example
from ptune_scale.prompt import stable_seed

_CHUNKS_PER_POOL = 8


class RelationOrder:
    """The order in which one relation's training examples are used.

    Each epoch is a new permutation that holds every example once. Within pools of a few chunks,
    examples are sorted by length, so that those in a chunk need little padding.

    Args:
        facts_per_visit: size of a chunk; the last one of an epoch may be smaller.
    """

    def __init__(
        self, relation_id: str, examples: Sequence[Example], facts_per_visit: int, seed: int
    ) -> None:
        self.relation_id = relation_id
        self.examples = examples
        self.facts_per_visit = facts_per_visit
        self.seed = seed
        self.visits_per_epoch = -(-len(examples) // facts_per_visit)
        self._epoch = -1
        self._chunks: list[list[Example]] = []

    def chunk(self, visit: int) -> list[Example]:
        """The examples of the relation's visit number ``visit``, counted from 0."""
        epoch, place = divmod(visit, self.visits_per_epoch)
        if epoch != self._epoch:
            self._chunks = self._shuffle(epoch)
            self._epoch = epoch
        return self._chunks[place]

    def _shuffle(self, epoch: int) -> list[list[Example]]:
        generator = torch.Generator()
        generator.manual_seed(stable_seed(self.seed, "order", self.relation_id, epoch))
        order = torch.randperm(len(self.examples), generator=generator).tolist()
        size = self.facts_per_visit
        chunks = []
        for start in range(0, len(order), size * _CHUNKS_PER_POOL):
            pool = [self.examples[i] for i in order[start : start + size * _CHUNKS_PER_POOL]]
            pool.sort(key=lambda example: len(example.ids))
            chunks += [pool[i : i + size] for i in range(0, len(pool), size)]
        shuffled = torch.randperm(len(chunks), generator=generator).tolist()
        return [chunks[i] for i in shuffled]


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
