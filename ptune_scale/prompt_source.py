"""Where P comes from while weights train: it stays as it is, or is trained beside them.

Shapes: R relations, S prompt slots, H embedding size.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ptune_scale.config import TrainConfig
from ptune_scale.schedule import learning_rate
from ptune_scale.trainable import TrainableEncoders


class PromptSource(Protocol):
    """P for each step, and what becomes of its gradient."""

    def encode(self) -> Tensor:
        """P, (R, S, H) in fp32, the same in all processes."""
        ...

    def update(
        self, prompts: Tensor, gradient: Tensor, visits: int, budget: int, visits_per_epoch: float
    ) -> None:
        """Take a step.

        Args:
            prompts: what ``encode`` returned.
            gradient: (R, S, H), dP.
            visits, budget, visits_per_epoch: how far training is, see ``learning_rate``.
        """
        ...

    def check(self) -> None:
        """Make sure that P is the same in all processes.

        Raises:
            RuntimeError: it is not.
        """
        ...


class FixedPrompts:
    """P as it is; a pattern without slots needs none of it.

    Args:
        prompts: (R, S, H).
    """

    def __init__(self, prompts: Tensor) -> None:
        self.prompts = prompts

    def encode(self) -> Tensor:
        return self.prompts

    def update(
        self, prompts: Tensor, gradient: Tensor, visits: int, budget: int, visits_per_epoch: float
    ) -> None:
        """Nothing trains."""

    def check(self) -> None:
        """Nothing could differ."""


class TrainedPrompts:
    """P from encoders with a learning rate of their own (Liu et al. 2021, section 4.2).

    Their gradient is clipped apart from that of the weights, each to its own norm; the published
    few-shot code clips both together.

    Args:
        relations: rows of P that are trained.
        config: with the encoders' peak learning rate, and its schedule.
    """

    def __init__(
        self, encoders: TrainableEncoders, relations: Sequence[int], config: TrainConfig
    ) -> None:
        self.encoders = encoders
        self.relations = relations
        self.config = config

    def encode(self) -> Tensor:
        return self.encoders.encode(self.relations)

    def update(
        self, prompts: Tensor, gradient: Tensor, visits: int, budget: int, visits_per_epoch: float
    ) -> None:
        rate = learning_rate(self.config, visits, budget, visits_per_epoch)
        groups = self.encoders.bank.active_groups(self.relations)
        self.encoders.update(prompts, gradient, dict.fromkeys(groups, rate))

    def check(self) -> None:
        self.encoders.check_replicas(self.relations)
