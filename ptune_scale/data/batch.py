"""Tokenized examples and batches of them.

Shapes: N rows, T tokens, K targets in a row (nearly always one).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ptune_scale.template import NO_SLOT


@dataclass(frozen=True, slots=True)
class Example:
    """One filled cloze with its answer.

    Attributes:
        relation: index of the relation in the job.
        ids, slots: see ``template.Cloze``, length T.
        targets: the K positions whose outputs are asked for.
        label: token id of the answer.
    """

    relation: int
    ids: tuple[int, ...]
    slots: tuple[int, ...]
    targets: tuple[int, ...]
    label: int

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """Rows of examples, padded on the right to a common length.

    Attributes:
        ids: (N, T) int64.
        slots: (N, T) int64, slot number or NO_SLOT.
        lengths: (N,) int64, number of real tokens.
        relations: (N,) int64, row of the prompt matrix.
        targets: (N, K) int64, positions to read.
        labels: (N,) int64, token id of the answer.
        weights: (N,) fp32, each row's share in the loss.
        index: (N,) int64, place in the global batch, so that an objective finds what it knows of
            the row.
        groups: (N,) int64, rows of one number stand behind one another and stay together, on a rank
            and in a forward pass; all groups are of one size.
    """

    ids: Tensor
    slots: Tensor
    lengths: Tensor
    relations: Tensor
    targets: Tensor
    labels: Tensor
    weights: Tensor
    index: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def group_size(self) -> int:
        """Rows in a group."""
        return len(self) // len(self.groups.unique())

    @property
    def is_padded(self) -> bool:
        return bool((self.lengths < self.ids.shape[1]).any())

    def rows(self, index: Tensor) -> "Batch":
        """Some of the rows, cut to the longest of them."""
        part = Batch(**{f.name: getattr(self, f.name)[index] for f in fields(self)})
        longest = int(part.lengths.max())
        return replace(part, ids=part.ids[:, :longest], slots=part.slots[:, :longest])

    def to(self, device: torch.device) -> "Batch":
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def collate(examples: Sequence[Example], pad: int, *, group_size: int = 1) -> Batch:
    """Batch examples so that each relation's weights add up to one.

    The loss of a batch is then the sum over its relations of the mean over that relation's facts:
    a relation's gradient does not depend on what else is in the batch.

    Args:
        pad: token id for padding.
        group_size: so many examples behind one another belong together.
    """
    longest = max(len(e.ids) for e in examples)
    relations = torch.tensor([e.relation for e in examples])
    counts = torch.bincount(relations)
    return Batch(
        ids=torch.tensor([[*e.ids, *[pad] * (longest - len(e.ids))] for e in examples]),
        slots=torch.tensor([[*e.slots, *[NO_SLOT] * (longest - len(e.slots))] for e in examples]),
        lengths=torch.tensor([len(e.ids) for e in examples]),
        relations=relations,
        targets=torch.tensor([e.targets for e in examples]),
        labels=torch.tensor([e.label for e in examples]),
        weights=1.0 / counts[relations].float(),
        index=torch.arange(len(examples)),
        groups=torch.arange(len(examples)) // group_size,
    )
