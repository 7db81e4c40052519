"""Run on ranks, or in this process: three steps of a tuned backbone on fixed batches.

Layouts are ZERO_STAGE, optionally with "-bf16".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deepspeed
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.parallel import Degrees, Mesh, TunedFunction, TuneSettings, World, tune
from ptune_scale.task.example import Batch, Example, collate

SETTINGS = TuneSettings(epsilon=1e-4)
"""With a smaller epsilon Adam makes steps of full size out of gradients that are rounding alone,
such as those of a key's bias, on which no attention depends."""

RATES = (1e-2, 2e-2, 1e-2)


def fixed_batch(seed: int, rows: int = 7) -> Batch:
    """Rows of several lengths in two tasks; each begins and ends with a prompt slot."""
    random = torch.Generator().manual_seed(seed)
    examples = []
    for row in range(rows):
        length = 2 + row % 4
        words = torch.randint(5, 60, (length,), generator=random).tolist()
        answer = int(torch.randint(5, 60, (1,), generator=random))
        slots = (0, *[-1] * length, 1)
        examples.append(Example(row % 2, (0, *words, 0), slots, (length + 1,), (answer,)))
    return collate(examples)


def fixed_prompts(hidden: int) -> torch.Tensor:
    return torch.randn(2, 2, hidden, generator=torch.Generator().manual_seed(1))


def weights_of(function: TunedFunction) -> dict[str, torch.Tensor]:
    """Copies of the tuned weights, whole where ZeRO-3 shards them."""
    named = dict(function.engine.lm.model.named_parameters())
    sharded = [p for p in named.values() if hasattr(p, "ds_tensor")]
    with deepspeed.zero.GatheredParameters(sharded, enabled=bool(sharded)):
        return {name: p.detach().clone() for name, p in named.items()}


def begin(
    model: str, layout: str, world: World, settings: TuneSettings, rows: int | None = None
) -> tuple[TunedFunction, torch.Tensor]:
    stage, *more = layout.split("-")
    mesh = Mesh.build(world, Degrees.resolve(world.size, zero_stage=int(stage)))
    dtype = torch.bfloat16 if "bf16" in more else torch.float32
    backbone = load_backbone(model, dtype=dtype)
    function = tune(backbone, mesh, settings, rows_per_forward=rows)
    return function, fixed_prompts(backbone.hidden_size)


def steps(function: TunedFunction, prompts: torch.Tensor, which: range) -> dict[str, Any]:
    result: dict[str, Any] = {"losses": [], "gradients": []}
    for step in which:
        losses, gradient = function.loss_and_gradient(fixed_batch(step), prompts)
        function.step(RATES[step])
        result["losses"].append(losses)
        result["gradients"].append(gradient)
    result["weights"] = weights_of(function)
    return result


def run_layout(model: str, layout: str, world: World) -> dict[str, Any]:
    function, prompts = begin(model, layout, world, SETTINGS, rows=2)
    result = steps(function, prompts, range(3))
    shards = [p.ds_tensor.numel() for p in function.engine.lm.parameters() if hasattr(p, "ds_id")]
    function.close()
    return {**result, "local": sum(shards)}


def main(model: str, output: Path, layouts: Sequence[str]) -> None:
    """Results go to files in ``output``, by layout."""
    world = World.start()
    for layout in layouts:
        result = run_layout(model, layout, world)
        if world.is_main:
            torch.save(result, output / f"{layout}.pt")
    world.finish()
