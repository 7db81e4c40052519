"""The one place where a layout is chosen and applied."""

from pathlib import Path

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.parallel import zero3
from ptune_scale.parallel.prompt_function import PromptFunction
from ptune_scale.parallel.world import World


def layout_name(world: World) -> str:
    """What results record: "single" or "zero3"."""
    return "single" if world.size == 1 else "zero3"


def parallelize(
    lm: FrozenLM,
    world: World,
    *,
    deepspeed_config: Path | None = None,
    rows_per_forward: int | None = None,
) -> PromptFunction:
    """Turn a frozen model into the function (batch, P) -> (losses, dP) over all ranks.

    One rank computes with the whole model. Several ranks shard the model by ZeRO-3 and share the
    rows of each batch.

    Args:
        deepspeed_config: another configuration than ``ds_configs/zero3.json``.
        rows_per_forward: most rows in one forward pass of a rank.

    Raises:
        UserError: the DeepSpeed configuration cannot be used.
    """
    if world.size == 1:
        return PromptFunction(lm.to(world.device), world, rows_per_forward)
    dtype = next(lm.parameters()).dtype
    config = zero3.read_config(deepspeed_config or zero3.DEFAULT_CONFIG, dtype)
    for buffer in lm.buffers():
        buffer.data = buffer.data.to(world.device)
    return zero3.shard(lm, world, config, rows_per_forward)
