"""Labels for unlabeled records, from what models say of them (Schick and Schütze 2021, iPET).

Shapes: M records, L labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ptune_scale.superglue.task import Record

GROWTH = 5
"""A generation is trained on so many times as many records as the one before, as in their paper."""


def vote(scores: Sequence[Tensor]) -> Tensor:
    """Mean over models of the probability of each label, (M, L).

    Args:
        scores: of each model, (M, L) log-probabilities of the labels' words, in nats.
    """
    return torch.stack([each.float().softmax(-1) for each in scores]).mean(0)


def label_surest(
    records: Sequence[Record], probabilities: Tensor, counts: Mapping[int, int]
) -> list[Record]:
    """The records that are surest to have each label, with it, and in their order.

    Fixed numbers of each label keep the next models from the bias of those that label. (Schick and
    Schütze draw the records by chance, the surer the likelier.)

    Args:
        probabilities: (M, L).
        counts: how many records to take of each label; fewer where fewer are thought to have it.
    """
    best = probabilities.max(-1)
    labels = best.indices.tolist()
    order = best.values.argsort(descending=True, stable=True).tolist()
    chosen: list[int] = []
    for label, count in counts.items():
        chosen += [index for index in order if labels[index] == label][:count]
    return [replace(records[index], label=labels[index]) for index in sorted(chosen)]
