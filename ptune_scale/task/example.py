"""Tokenized examples and batches of them: lists, until a model's forward pass lays them out.

Shapes: N rows, T tokens, K targets in a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

NO_SLOT = -1
"""Slot number of a position that is not a prompt slot."""

NO_QUESTION = -1
"""Stands for the number of a question that has one row."""

NO_ANSWER = -1
"""Stands for the token id of an answer that is not known, or for an unknown label."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of tokens with what should be answered in it.

    Attributes:
        task: row of the prompt matrix P, the index of the task in the job.
        ids: T token ids; a placeholder id stands at prompt slots.
        slots: slot number at each of the T positions, NO_SLOT elsewhere.
        targets: the K positions whose outputs are asked for.
        answers: K token ids that should be predicted there, NO_ANSWER where none is expected.
        label: index of the right one among the labels or choices that compete, NO_ANSWER where
            nothing competes or the right one is not known.
        question: the same number for rows of a task that ask about one record in several ways,
            and so begin alike; NO_QUESTION for a row alone.
        owner: whose row it is, where a model serves several people: what is kept of it is kept for
            them alone.
    """

    task: int
    ids: tuple[int, ...]
    slots: tuple[int, ...]
    targets: tuple[int, ...]
    answers: tuple[int, ...]
    label: int = NO_ANSWER
    question: int = NO_QUESTION
    owner: str = ""

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.ids)


@dataclass(frozen=True)
class Padded:
    """The rows of a batch as tensors, padded on the right to a common length.

    Attributes:
        ids: (N, T) int64; padding is 0, which every vocabulary has.
        slots: (N, T) int64, slot number or NO_SLOT.
        lengths: (N,) int64, number of real tokens.
        is_padded: whether a row is shorter than another.
    """

    ids: Tensor
    slots: Tensor
    lengths: Tensor
    is_padded: bool


@dataclass(frozen=True)
class Batch:
    """Rows that are computed together.

    Rows of a group stand behind one another and stay together, on a rank and in a forward pass.
    Where a row has fewer targets than another, its last one stands in, without an answer.

    Attributes:
        examples: N rows.
        weights: each row's share in the loss.
        group_size: rows in a group.
        device: where the tensors of this batch are made.
    """

    examples: tuple[Example, ...]
    weights: tuple[float, ...]
    group_size: int = 1
    device: torch.device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(len(example.ids) for example in self.examples)

    @property
    def num_targets(self) -> int:
        """K, the most of any row."""
        return max(len(example.targets) for example in self.examples)

    def rows(self, index: Sequence[int]) -> "Batch":
        """Some of the rows."""
        return replace(
            self,
            examples=tuple(self.examples[i] for i in index),
            weights=tuple(self.weights[i] for i in index),
        )

    def to(self, device: torch.device) -> "Batch":
        """The same rows, whose tensors are made on another device."""
        return replace(self, device=device)

    def padded(self) -> Padded:
        """The rows' tokens as tensors."""
        longest = max(len(e.ids) for e in self.examples)
        gaps = [longest - len(e.ids) for e in self.examples]
        pairs = list(zip(self.examples, gaps, strict=True))
        return Padded(
            self._tensor([[*e.ids, *[0] * gap] for e, gap in pairs]),
            self._tensor([[*e.slots, *[NO_SLOT] * gap] for e, gap in pairs]),
            self._tensor([len(e.ids) for e in self.examples]),
            any(gaps),
        )

    @cached_property
    def tasks(self) -> Tensor:
        """(N,) int64, row of the prompt matrix."""
        return self._tensor([e.task for e in self.examples])

    @cached_property
    def targets(self) -> Tensor:
        """(N, K) int64, positions in the row."""
        most = self.num_targets
        return self._tensor(
            [[*e.targets, *e.targets[-1:] * (most - len(e.targets))] for e in self.examples]
        )

    @cached_property
    def answers(self) -> Tensor:
        """(N, K) int64, token ids; 0 where none is expected, see ``answered``."""
        return self._answers.clamp(min=0)

    @cached_property
    def answered(self) -> Tensor:
        """(N, K) bool, whether a token is expected at the target."""
        return self._answers != NO_ANSWER

    @cached_property
    def labels(self) -> Tensor:
        """(N,) int64, see ``Example.label``."""
        return self._tensor([e.label for e in self.examples])

    @cached_property
    def shares(self) -> Tensor:
        """(N,) fp32, the weights."""
        return torch.tensor(self.weights, device=self.device)

    @cached_property
    def _answers(self) -> Tensor:
        most = self.num_targets
        return self._tensor(
            [[*e.answers, *[NO_ANSWER] * (most - len(e.answers))] for e in self.examples]
        )

    def _tensor(self, values: list) -> Tensor:
        return torch.tensor(values, device=self.device)


def collate(examples: Sequence[Example], *, group_size: int = 1) -> Batch:
    """Batch examples so that each task's weights add up to one.

    The loss of a batch is then the sum over its tasks of the mean over that task's rows: a task's
    gradient does not depend on what else is in the batch.

    Args:
        group_size: so many examples behind one another belong together.
    """
    counts: dict[int, int] = {}
    for example in examples:
        counts[example.task] = counts.get(example.task, 0) + 1
    weights = tuple(1.0 / counts[example.task] for example in examples)
    if group_size > 1:
        examples = [replace(e, question=place // group_size) for place, e in enumerate(examples)]
    return Batch(tuple(examples), weights, group_size)
