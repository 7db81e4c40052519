"""Answers by other software beside our own, for the same records.

Shapes: N rows, K targets in a row, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ptune_scale.backbone import FrozenLM
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.parallel import single
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.example import Batch
from ptune_scale.task.record import Record
from ptune_scale.use.formats.format import Logits
from ptune_scale.use.prompt import TunedPrompt


@dataclass(frozen=True)
class Agreement:
    """How alike the answers are.

    Attributes:
        records: how many were asked about.
        same: how many answers are the same.
        difference: the largest between two scores of an answer, as probabilities.
    """

    records: int
    same: int
    difference: float


class ForeignLM(FrozenLM):
    """A model whose logits other software computes."""

    has_cache = False

    def __init__(self, model: PreTrainedModel, logits: Logits) -> None:
        super().__init__(model, shortcuts=PLAIN)
        self.logits = logits

    def forward(self, batch: Batch, prompts: Tensor, *_: Any, **__: Any) -> Tensor:  # type: ignore[override]
        """Logits (N, K, V) at the targets."""
        return self.logits(batch, prompts)


def compare(prompt: TunedPrompt, records: dict[int, list[Record]], logits: Logits) -> Agreement:
    """Answer records by ourselves and by others.

    Args:
        records: by row of the prompt matrix.
    """
    function = single(ForeignLM(prompt.backbone.lm.model, logits))
    theirs = TunedPrompt(prompt.export, prompt.backbone, function)
    pairs: list[tuple[Prediction, Prediction]] = []
    for row, some in records.items():
        name = prompt.export.tasks[row].name
        pairs += zip(prompt.predict(some, name), theirs.predict(some, name), strict=True)
    same = sum(a.answer == b.answer for a, b in pairs)
    difference = max((abs(a.score - b.score) for a, b in pairs), default=0.0)
    return Agreement(len(pairs), same, difference)


def at_targets(logits: Tensor, targets: Tensor, vocab_size: int) -> Tensor:
    """Logits (N, K, V) at the targets (N, K) of rows, from those at all places, without the words
    that an export has added."""
    rows = torch.arange(len(logits)).unsqueeze(1)
    return logits[rows, targets, :vocab_size].float()


def padded(ids: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Rows padded on the right, and the mask that says where they are."""
    longest = max(map(len, ids))
    filled = [[*row, *[padding] * (longest - len(row))] for row in ids]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
    return torch.tensor(filled), torch.tensor(mask)
