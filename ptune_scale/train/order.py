"""Which facts make up a training step: a function of the seed and of visits already made.

A step visits a few tasks and takes a few facts of each, or as many as fit into some tokens.
Tasks take turns; the facts of a task come in an order of its own, which depends on the
seed, the task and how often it was visited, and on nothing else in the job.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import torch

from ptune_scale.prompt.bank import stable_seed
from ptune_scale.task.ask import cut_by_tokens

_CHUNKS_PER_POOL = 8


class Sized(Protocol):
    """An example that is so many tokens long."""

    @property
    def num_tokens(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


class TaskOrder(Generic[Item]):
    """The order in which one task's training examples are used.

    Each epoch is a new permutation that holds every example once. Within pools of a few chunks,
    examples are sorted by length, so that those in a chunk need little padding.

    With a token budget the whole epoch is one pool: the number of chunks would otherwise depend on
    which lengths meet, and with it the length of an epoch. Sorted lengths are the same in every
    epoch, so they are cut at the same places; what changes is who stands where among examples of
    equal length, and when each chunk comes.

    Args:
        records_per_visit: size of a chunk; the last one of an epoch may be smaller.
        tokens_per_visit: most tokens in a chunk, padding not counted, instead of
            ``records_per_visit``; a longer example is a chunk of its own.

    Attributes:
        visits_per_epoch: number of chunks in each epoch.
    """

    def __init__(
        self,
        task_id: str,
        examples: Sequence[Item],
        records_per_visit: int,
        seed: int,
        *,
        tokens_per_visit: int | None = None,
    ) -> None:
        self.task_id = task_id
        self.examples = examples
        self.records_per_visit = records_per_visit
        self.seed = seed
        self._cuts: list[slice] | None = None
        self.visits_per_epoch = -(-len(examples) // records_per_visit)
        if tokens_per_visit is not None:
            self._cuts = cut_by_tokens(sorted(map(_length, examples)), tokens_per_visit)
            self.visits_per_epoch = len(self._cuts)
        self._epoch = -1
        self._chunks: list[list[Item]] = []

    @property
    def mean_records(self) -> float:
        """Records in a chunk, averaged over an epoch."""
        return len(self.examples) / self.visits_per_epoch

    def chunk(self, visit: int) -> list[Item]:
        """The examples of the task's visit number ``visit``, counted from 0."""
        epoch, place = divmod(visit, self.visits_per_epoch)
        if epoch != self._epoch:
            self._chunks = self._shuffle(epoch)
            self._epoch = epoch
        return self._chunks[place]

    def _shuffle(self, epoch: int) -> list[list[Item]]:
        generator = torch.Generator()
        generator.manual_seed(stable_seed(self.seed, "order", self.task_id, epoch))
        order = torch.randperm(len(self.examples), generator=generator).tolist()
        examples = [self.examples[i] for i in order]
        if self._cuts is None:
            chunks = self._chunks_of_records(examples)
        else:
            examples.sort(key=_length)  # stable: examples of equal length stay in random order
            chunks = [examples[cut] for cut in self._cuts]
        shuffled = torch.randperm(len(chunks), generator=generator).tolist()
        return [chunks[i] for i in shuffled]

    def _chunks_of_records(self, examples: Sequence[Item]) -> list[list[Item]]:
        size = self.records_per_visit
        chunks = []
        for start in range(0, len(examples), size * _CHUNKS_PER_POOL):
            pool = sorted(examples[start : start + size * _CHUNKS_PER_POOL], key=_length)
            chunks += [pool[i : i + size] for i in range(0, len(pool), size)]
        return chunks


def _length(example: Sized) -> int:
    return example.num_tokens


def choose_tasks(
    visits: Sequence[int], eligible: Sequence[int], count: int, seed: int
) -> list[int]:
    """The tasks of the next step: those visited least, ties in an order that varies.

    Args:
        visits: how often each task was visited.
        eligible: tasks that may still be visited.
    """

    def urgency(task: int) -> tuple[int, int]:
        return visits[task], stable_seed(seed, "turn", task, visits[task])

    return sorted(sorted(eligible, key=urgency)[:count])
