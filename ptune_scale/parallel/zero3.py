"""A frozen backbone sharded by DeepSpeed ZeRO-3: each rank keeps 1/N of every weight.

The backbone gets a DeepSpeed engine without optimizer and is called through ``engine.module``;
the prompt encoder stays outside, whole on every rank.
"""

import json
from pathlib import Path
from typing import Any

import torch

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.errors import UserError
from ptune_scale.parallel.prompt_function import PromptFunction
from ptune_scale.parallel.world import World

DEFAULT_CONFIG = Path(__file__).resolve().parents[2] / "ds_configs" / "zero3.json"


def read_config(path: Path, dtype: torch.dtype) -> dict[str, Any]:
    """A DeepSpeed configuration for a frozen backbone, checked and completed.

    Raises:
        UserError: missing file, bad JSON, not ZeRO stage 3, an optimizer (nothing in the backbone
            trains), or a precision that contradicts ``dtype``.
    """
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"DeepSpeed config {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"DeepSpeed config {path}:{error.lineno}: bad JSON: {error.msg}") from error
    stage = config.get("zero_optimization", {}).get("stage")
    if stage != 3:
        raise UserError(f"DeepSpeed config {path}: zero_optimization.stage is {stage}, must be 3")
    for key in ("optimizer", "scheduler"):
        if key in config:
            raise UserError(f"DeepSpeed config {path}: remove {key!r}: the backbone is frozen")
    wants_bf16 = dtype == torch.bfloat16
    if config.get("bf16", {}).get("enabled", wants_bf16) != wants_bf16 or "fp16" in config:
        raise UserError(f"DeepSpeed config {path}: its precision contradicts --dtype; remove it")
    config["bf16"] = {"enabled": wants_bf16}
    # DeepSpeed insists on a batch size; ours is global and lives on the other side of the waist.
    config.setdefault("train_micro_batch_size_per_gpu", 1)
    return config


def shard(
    lm: FrozenLM, world: World, config: dict[str, Any], rows_per_forward: int | None
) -> PromptFunction:
    """Partition the weights of ``lm`` over all ranks, in place.

    Every rank must hold the same weights. Mapped weights are copied slice by slice: only the
    rank's own part is ever allocated.
    """
    import deepspeed
    import deepspeed.ops

    if world.device.type == "cpu":
        # DeepSpeed would compile a shared-memory op here, for an all-reduce that is not used.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed()
    deepspeed.zero.Init(module=lm, config_dict_or_path=config)
    engine, *_ = deepspeed.initialize(model=lm, config=config)
    return PromptFunction(
        engine.module,
        world,
        rows_per_forward,
        # The input embedding sees ids, which carry no gradient, so no backward hook frees it.
        after_forward=engine.optimizer.release_backward_leftovers,
    )


def local_elements(lm: FrozenLM) -> tuple[int, int]:
    """Backbone elements kept on this rank between steps, and in the whole model."""
    parameters = list(lm.parameters())
    local = sum(p.ds_tensor.numel() + p.numel() for p in parameters)
    return local, sum(p.ds_numel for p in parameters)
