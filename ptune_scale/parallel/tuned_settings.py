"""How a backbone trains: what can be set, what DeepSpeed is told, and the optimizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptune_scale.backbone.tuned import TunedLM
from ptune_scale.errors import UserError
from ptune_scale.parallel import zero3
from ptune_scale.parallel.degrees import Degrees


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """How a backbone trains.

    Attributes:
        weight_decay: decoupled (Loshchilov and Hutter 2019), of all but biases and norms.
        epsilon: AdamW's.
        max_grad_norm: the gradient of all weights together is scaled down to this norm; 0: never.
        dropout: train with the model's own dropout.
    """

    weight_decay: float = 0.1
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    dropout: bool = False

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a value is out of range.
        """
        if self.weight_decay < 0 or self.epsilon <= 0 or self.max_grad_norm < 0:
            raise ValueError(f"out of range: {self}")


def check_tuned(degrees: Degrees) -> None:
    """Make sure that a backbone can be trained in a layout.

    Raises:
        UserError: it cannot, with what to do instead.
    """
    if not degrees.is_replicated:
        raise UserError(
            f"layout {degrees.name}: a backbone that trains is replicated or sharded by ZeRO-3; "
            "leave out --tensor_parallel and --pipeline_parallel"
        )


def engine_config(
    dtype: torch.dtype, settings: TuneSettings, path: Path | None, is_sharded: bool
) -> dict[str, Any]:
    """What DeepSpeed is told of a backbone that trains.

    Args:
        path: another configuration than ``ds_configs/zero3.json``, where weights are sharded.

    Raises:
        UserError: see ``zero3.read_config``.
    """
    if is_sharded:
        config = zero3.read_config(path or zero3.DEFAULT_CONFIG, dtype)
    else:
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "bf16": {"enabled": dtype == torch.bfloat16},
            "zero_optimization": {"stage": 0},
        }
    # Backward passes add up until ``step``: how many there are is known on this side.
    config["managed_gradient_accumulation"] = False
    config["zero_optimization"]["overlap_comm"] = False
    config["gradient_clipping"] = settings.max_grad_norm
    config["communication_data_type"] = "fp32"
    return config


def adamw(lm: TunedLM, settings: TuneSettings) -> torch.optim.Optimizer:
    """AdamW over all weights, with decay where the settings say so."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in lm.parameters():
        # Biases and norms are the vectors among the parameters.
        groups[len(getattr(parameter, "ds_shape", parameter.shape)) > 1].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": settings.weight_decay if decays else 0.0}
            for decays, parameters in groups.items()
            if parameters
        ],
        lr=0.0,  # set in each step
        eps=settings.epsilon,
        fused=True,
    )
