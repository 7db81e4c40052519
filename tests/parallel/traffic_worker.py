"""Run on ranks: the payloads that the first rank gives to collectives in a step.

Layouts are TENSOR-PIPELINE-ZERO_STAGE.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.parallel import Degrees, Mesh, World, parallelize
from ptune_scale.parallel.placement import EncoderPlacement
from ptune_scale.task.example import Example, collate

KINDS = {
    "allreduce_": "all_reduce",
    "all_reduce": "all_reduce",
    "_allgather_base_": "all_gather",
    "send": "point_to_point",
}


class Payloads(TorchDispatchMode):
    """Adds up the bytes of what is reduced, has been gathered or is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        if any(issubclass(t, (DTensor, AsyncCollectiveTensor)) for t in types):
            return NotImplemented
        kind = KINDS.get(operation.__name__.partition(".")[0])
        if kind and operation.namespace in ("c10d", "_c10d_functional"):
            tensors = [t for t in tree_leaves(arguments[0]) if isinstance(t, Tensor)]
            size = sum(t.numel() * t.element_size() for t in tensors)
            self.bytes[kind] = self.bytes.get(kind, 0) + size
        return operation(*arguments, **(keywords or {}))


def payloads(model: str, layout: str, world: World) -> dict[str, int]:
    tensor, pipeline, zero_stage = map(int, layout.split("-"))
    degrees = Degrees.resolve(world.size, tensor=tensor, pipeline=pipeline, zero_stage=zero_stage)
    backbone = load_backbone(
        model, dtype=torch.float32, shortcuts=replace(PLAIN, head_at_targets=True)
    )
    mesh = Mesh.build(world, degrees)
    function, placement = parallelize(backbone, mesh), EncoderPlacement.build("replicated", mesh, 1)
    slots = (0, *[-1] * 14, 1)
    rows = [Example(row % 2, (0, *range(5, 19), 0), slots, (15,), (7 + row,)) for row in range(8)]
    prompts = torch.randn(2, 2, backbone.hidden_size)
    for _ in range(3):
        with Payloads() as found:
            given = placement.gather(prompts, [0, 1])
            function.loss_and_gradient(collate(rows), given)
    return found.bytes


def main(model: str, output: Path, layouts: Sequence[str]) -> None:
    """What was found goes to files in ``output``, by layout."""
    world = World.start()
    for layout in layouts:
        found = payloads(model, layout, world)
        if world.is_main:
            (output / f"{layout}.json").write_text(json.dumps(found))
    world.finish()
