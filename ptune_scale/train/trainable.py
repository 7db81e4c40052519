"""The encoders that this process trains: P out, dP in, and what of them is saved.

A process may hold some of the job's encoders only, each with its optimizer. The placement completes
P, so what asks for P and has dP need not know who holds what.

Shapes: R tasks, S slots, H embedding size.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ptune_scale.parallel import EncoderPlacement
from ptune_scale.prompt.bank import PromptBank
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.saved_state import check_adam, check_like
from ptune_scale.train.schedule import learning_rate


class TrainableEncoders:
    """A prompt bank with an Adam optimizer for each group that it holds.

    Args:
        settings: of each of the bank's groups, or one for all.

    All methods but ``parts`` and ``load_parts`` are called in all processes together.

    Raises:
        ValueError: the bank does not hold what the placement says.
    """

    def __init__(
        self,
        bank: PromptBank,
        placement: EncoderPlacement,
        settings: TrainConfig | Sequence[TrainConfig],
    ) -> None:
        if tuple(bank.groups) != placement.held:
            raise ValueError(
                f"the bank holds groups {tuple(bank.groups)}, placed here are {placement.held}"
            )
        self.bank = bank
        self.placement = placement
        if isinstance(settings, TrainConfig):
            settings = [settings] * len(bank.members)
        self.max_grad_norms = [each.max_grad_norm for each in settings]
        self.optimizers = {
            number: torch.optim.Adam(
                group.parameters(),
                lr=settings[number].lr,
                weight_decay=settings[number].weight_decay,
                foreach=False,
                fused=True,
            )
            for number, group in bank.groups.items()
        }

    def encode(self, tasks: Sequence[int]) -> Tensor:
        """P, (R, S, H) in fp32, the same everywhere; rows of other tasks are zero.

        Gradients flow to the encoders held here.
        """
        return self.placement.gather(self.bank(tasks), tasks)

    def update(self, prompts: Tensor, gradient: Tensor, rates: Mapping[int, float]) -> None:
        """Step the encoders that are held here.

        Args:
            prompts: what ``encode`` returned.
            gradient: (R, S, H), dP, the same everywhere.
            rates: learning rate of each group that took part.
        """
        # One encoder after another, so that there are gradients of one at a time: at H=3072 they
        # take half a gigabyte. What is freed after one is used again by the next.
        for group in self.bank.groups.keys() & rates.keys():
            parameters = list(self.bank.groups[group].parameters())
            prompts.backward(gradient, inputs=parameters, retain_graph=True)
            if norm := self.max_grad_norms[group]:
                clip_grad_norm_(parameters, norm, foreach=True)
            optimizer = self.optimizers[group]
            for settings in optimizer.param_groups:
                settings["lr"] = rates[group]
            optimizer.step()
            optimizer.zero_grad()

    def check_replicas(self, tasks: Sequence[int]) -> None:
        """Make sure that encoders of these tasks are the same wherever they are held.

        Raises:
            RuntimeError: they are not. All began alike and got the same gradients, so a machine or
                a library is at fault and nothing that was trained since can be trusted.
        """
        held = self.bank.groups.keys() & self.bank.active_groups(tasks)
        self.placement.check_replicas({g: self.bank.groups[g].parameters() for g in held})

    def bytes_held(self) -> list[int]:
        """Bytes of parameters and optimizer state in each process."""
        tensors: list[Tensor] = list(self.bank.parameters())
        for optimizer in self.optimizers.values():
            for state in optimizer.state.values():
                tensors += [value for value in state.values() if torch.is_tensor(value)]
        return self.placement.world.gather(sum(tensor.nbytes for tensor in tensors))

    def parts(self) -> dict[str, Any]:
        """What this process has to save: ``encoder-NAME`` for each group that it speaks for."""
        return {
            self._part(group): {
                "parameters": self.bank.groups[group].state_dict(),
                "optimizer": self.optimizers[group].state_dict(),
            }
            for group in self.placement.spoken_for
        }

    def load_parts(self, read: Callable[[str], Any]) -> None:
        """Take over saved encoders, whichever processes saved them.

        Args:
            read: returns the part of a name. Asked for one after another, so that only one encoder
                is in memory twice.

        Raises:
            UserError: a part is not that of such an encoder.
        """
        for number, group in self.bank.groups.items():
            name, optimizer = self._part(number), self.optimizers[number]
            saved = read(name)
            if not isinstance(saved, dict):
                saved = {}
            kept = saved.get("optimizer", {})
            check_like(saved.get("parameters"), group.state_dict(), f"the saved {name}")
            check_adam(kept, list(group.parameters()), f"the saved {name}")
            group.load_state_dict(saved["parameters"])
            # The settings are this run's: saved ones would also say how Adam is computed.
            settings = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({**kept, "param_groups": settings})

    def _part(self, group: int) -> str:
        return f"encoder-{self.bank.group_names[group]}"


class PromptSource(Protocol):
    """Where P comes from while weights train, and what becomes of its gradient."""

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
        tasks: rows of P that are trained.
        config: with the encoders' peak learning rate, and its schedule.
    """

    def __init__(
        self, encoders: TrainableEncoders, tasks: Sequence[int], config: TrainConfig
    ) -> None:
        self.encoders = encoders
        self.tasks = tasks
        self.config = config

    def encode(self) -> Tensor:
        return self.encoders.encode(self.tasks)

    def update(
        self, prompts: Tensor, gradient: Tensor, visits: int, budget: int, visits_per_epoch: float
    ) -> None:
        rate = learning_rate(self.config, visits, budget, visits_per_epoch)
        groups = self.encoders.bank.active_groups(self.tasks)
        self.encoders.update(prompts, gradient, dict.fromkeys(groups, rate))

    def check(self) -> None:
        self.encoders.check_replicas(self.tasks)
