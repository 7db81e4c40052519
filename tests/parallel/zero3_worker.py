"""Run under torchrun: prompt gradients of a sharded backbone, saved for comparison.

Arguments: model directory, output file.
"""

import sys

import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.data.batch import Example, collate
from ptune_scale.parallel import World, parallelize, zero3


def fixed_batch():
    """Nine rows of two relations and several lengths: uneven over two ranks on purpose."""
    rows = []
    for i in range(9):
        n = 3 + i % 4
        ids = tuple((7 * i + j) % 40 + 5 for j in range(n + 2))
        slots = (0, *([-1] * n), 1)
        rows.append(Example(i % 2, ids, slots, (n + 1,), 5 + i))
    return collate(rows, pad=0)


def main() -> None:
    world = World.start()
    backbone = load_backbone(sys.argv[1], dtype=torch.float32)
    function = parallelize(backbone.lm, world)
    prompts = torch.randn(2, 2, backbone.hidden_size, generator=torch.Generator().manual_seed(1))
    losses, gradient = function.loss_and_gradient(fixed_batch(), prompts)
    local, total = zero3.local_elements(backbone.lm) if world.size > 1 else (0, 0)
    untouched = all(p.grad is None and not p.requires_grad for p in backbone.lm.parameters())
    counts = torch.tensor([local])
    shares = world.sum_(counts.clone())
    if world.is_main:
        torch.save(
            {
                "losses": losses,
                "gradient": gradient,
                "local": local,
                "total": total,
                "sum": int(shares),
                "untouched": untouched,
            },
            sys.argv[2],
        )
    world.finish()


if __name__ == "__main__":
    main()
