"""Answers by other software beside our own, for the same records.

Shapes: N rows, K targets in a row, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from ptune_scale.parallel import Degrees, Mesh, PromptFunction, World
from ptune_scale.parallel.engine import Outcome
from ptune_scale.parallel.rows import cut
from ptune_scale.parallel.vocabulary import WholeVocabulary
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


class ForeignEngine:
    """Rows run through other software; see ``parallel.engine.Engine``."""

    holds_prompts = holds_logits = True

    def __init__(self, logits: Logits, prompt: TunedPrompt) -> None:
        self.logits = logits
        # What is looked at of a backbone by those who ask.
        self.lm = SimpleNamespace(
            texts=None,
            is_causal=prompt.backbone.kind == "causal",
            model=SimpleNamespace(config=prompt.backbone.config, named_parameters=lambda: ()),
        )

    @torch.no_grad()
    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor:
        """As ``Engine.run``, without a gradient."""
        parts = cut(batch, num_parts)
        return torch.cat([outcome(self.logits(part, prompts), part) for part in parts])


def compare(
    prompt: TunedPrompt, records: dict[int, list[Record]], logits: Logits
) -> tuple[Agreement, list[tuple[Prediction, Prediction]]]:
    """Answer records by ourselves and by others.

    Args:
        records: by row of the prompt matrix.

    Returns:
        how alike they are, and all pairs: ours, theirs.
    """
    mesh = Mesh.build(World(), Degrees())
    engine = ForeignEngine(logits, prompt)
    theirs = TunedPrompt(
        prompt.export,
        prompt.backbone,
        PromptFunction(engine, mesh, WholeVocabulary()),  # type: ignore[arg-type]
    )
    pairs: list[tuple[Prediction, Prediction]] = []
    for row, some in records.items():
        name = prompt.export.tasks[row].name
        pairs += zip(prompt.predict(some, name), theirs.predict(some, name), strict=True)
    same = sum(a.answer == b.answer for a, b in pairs)
    difference = max((abs(a.score - b.score) for a, b in pairs), default=0.0)
    return Agreement(len(pairs), same, difference), pairs


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
