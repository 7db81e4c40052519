"""What prompts are trained for: how examples become a batch, and how good a prompt is.

Shapes: R relations (or tasks), S prompt slots, H embedding size.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ptune_scale.config import TrainConfig
from ptune_scale.data.batch import Batch, Example, collate
from ptune_scale.data.candidates import Candidates
from ptune_scale.evaluate import Score, all_ranks
from ptune_scale.parallel import Objective, PromptFunction, cross_entropy
from ptune_scale.selection import DevScore


class Problem(Protocol):
    """Turns the examples that a trainer draws into losses, and prompts into scores."""

    def batch(self, examples: Sequence[Any]) -> tuple[Batch, Objective]:
        """The batch of a step, and what is minimized on it."""
        ...

    def has_dev(self, relation: int) -> bool:
        """Whether there are development examples of it."""
        ...

    def score(self, relations: Sequence[int], prompts: Tensor) -> dict[int, DevScore]:
        """How well each of these relations does on its development examples.

        Args:
            prompts: (R, S, H), the prompt matrix P; rows of ``relations`` are filled.
        """
        ...


class FactProblem:
    """Facts: cross-entropy at the target, P@1 on the development facts.

    Args:
        dev: development examples of each relation; may be empty.
        candidates: development answers are ranked among the first set.
        pad: token id for padding.
        scored: which of an example's targets is read for its score.
    """

    def __init__(
        self,
        function: PromptFunction,
        dev: Sequence[Sequence[Example]],
        candidates: Candidates,
        config: TrainConfig,
        pad: int,
        scored: int = 0,
    ) -> None:
        self.function = function
        self.dev = dev
        self.candidates = candidates
        self.config = config
        self.pad = pad
        self.scored = scored

    def batch(self, examples: Sequence[Example]) -> tuple[Batch, Objective]:
        return collate(examples, self.pad), cross_entropy

    def has_dev(self, relation: int) -> bool:
        return bool(self.dev[relation])

    def score(self, relations: Sequence[int], prompts: Tensor) -> dict[int, DevScore]:
        examples = [e for r in relations for e in self.dev[r]]
        if not examples:
            return {r: Score.of(torch.empty(0)).for_selection for r in relations}
        owner = torch.tensor([e.relation for e in examples])
        ranks = all_ranks(
            self.function,
            examples,
            prompts,
            self.candidates,
            batch_size=self.config.eval_batch_size,
            batch_tokens=self.config.eval_batch_tokens,
            pad=self.pad,
        )[:, self.scored, 0]
        return {r: Score.of(ranks[owner == r]).for_selection for r in relations}
