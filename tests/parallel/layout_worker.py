"""Run by torchrun: losses, prompt gradients and ranks of fixed batches, in several layouts.

Arguments: model directory, output directory, layouts as TENSOR-PIPELINE-ZERO_STAGE, optionally
with "bf16" behind it, or for ZeRO-3 the name of a file in ds_configs.
"""

import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import nn

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.shortcuts import DEFAULT, PLAIN
from ptune_scale.data.batch import Batch, Example, collate
from ptune_scale.data.candidates import Candidates
from ptune_scale.parallel import Degrees, Mesh, World, count_local_elements, parallelize
from ptune_scale.parallel.vocabulary import Vocabulary

CONFIGS = Path(__file__).resolve().parents[2] / "ds_configs"
VOCABULARY = 60


def fixed_batch(rows: int, longest: int, group_size: int = 1) -> Batch:
    """Rows of several lengths; slots around the words in one relation, behind them in the other."""
    generator = torch.Generator().manual_seed(rows)
    examples = []
    for row in range(rows):
        length = 2 + row % (longest - 3)
        words = torch.randint(5, VOCABULARY, (length,), generator=generator).tolist()
        label = int(torch.randint(5, VOCABULARY, (1,), generator=generator))
        if row % 2:
            ids, slots = (*words, 0, 0), (*[-1] * length, 0, 1)
        else:
            ids, slots = (0, *words, 0), (0, *[-1] * length, 1)
        examples.append(Example(row % 2, ids, slots, (length + 1,), label))
    return collate(examples, pad=0, group_size=group_size)


def first_of_two_is_right(vocabulary: Vocabulary, logits: torch.Tensor, batch: Batch):
    """An objective that compares rows: hinge loss between the two rows of a group, (N,)."""
    picked = vocabulary.pick(logits, batch.labels.view(-1, 1, 1))
    right, wrong = (picked - vocabulary.normalizer(logits)).view(-1, 2).unbind(1)
    return (2 + wrong - right).relu().repeat_interleave(2)


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    """Copies of this rank's backbone weights, whole where ZeRO-3 shards them."""
    parameters = list(model.parameters())
    sharded = [p for p in parameters if hasattr(p, "ds_tensor")]
    with deepspeed.zero.GatheredParameters(sharded, enabled=bool(sharded)):
        return [
            (p.to_local() if hasattr(p, "to_local") else p).detach().clone() for p in parameters
        ]


def run_layout(model: str, layout: str, world: World) -> dict[str, Any]:
    tensor, pipeline, zero_stage, *more = layout.split("-")
    config = [name for name in more if name != "bf16"]
    tensor, pipeline, zero_stage = int(tensor), int(pipeline), int(zero_stage)
    degrees = Degrees.resolve(world.size, tensor=tensor, pipeline=pipeline, zero_stage=zero_stage)
    mesh = Mesh.build(world, degrees)
    dtype = torch.bfloat16 if "bf16" in more else torch.float32
    # One process computes everything, as the model was written: the others are compared with it.
    shortcuts = PLAIN if world.size == 1 else DEFAULT
    backbone = load_backbone(model, dtype=dtype, shortcuts=shortcuts)
    function = parallelize(
        backbone,
        mesh,
        deepspeed_config=CONFIGS / f"{config[0]}.json" if config else None,
        rows_per_forward=4,
    )
    lm = function.engine.lm
    before = weights_of(lm)
    shape = (2, 2, backbone.hidden_size)
    prompts = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    candidates = Candidates(
        backbone.vocab_size,
        {"full_vocab": None, "even": list(range(0, VOCABULARY, 2))},
        {"relation": [[5, 6, 7, 8], [9, 10, 11]]},
    )
    result = {"losses": [], "gradients": [], "ranks": [], "layout": degrees.name}
    for rows, longest in ((7, 9), (1, 6), (7, 9)):
        batch = fixed_batch(rows, longest)
        losses, gradient = function.loss_and_gradient(batch, prompts)
        result["losses"].append(losses)
        result["gradients"].append(gradient)
        result["ranks"].append(function.ranks(batch, prompts, candidates))
    pairs = fixed_batch(10, 9, group_size=2)
    losses, gradient = function.loss_and_gradient(pairs, prompts, first_of_two_is_right)
    result["losses"].append(losses)
    result["gradients"].append(gradient)
    asked = torch.arange(5).expand(len(pairs), 1, 5) * 11 + 3
    result["log_probabilities"] = function.log_probabilities(pairs, prompts, asked)
    result["embeddings"] = backbone.embeddings.sample
    result["top"] = function.top(fixed_batch(3, 8), prompts, 4)
    counts = torch.zeros(world.size, dtype=torch.int64)
    counts[world.rank] = count_local_elements(lm)
    result["local"] = world.sum_(counts)
    changed = any(not torch.equal(a, b) for a, b in zip(before, weights_of(lm), strict=True))
    touched = any(p.grad is not None or p.requires_grad for p in lm.parameters())
    result["same_bytes"] = not world.any(int(changed))
    result["untouched"] = not world.any(int(touched))
    return result


def main() -> None:
    model, output, *layouts = sys.argv[1:]
    world = World.start()
    for layout in layouts:
        result = run_layout(model, layout, world)
        if world.is_main:
            torch.save(result, Path(output) / f"{layout}.pt")
    world.finish()


if __name__ == "__main__":
    main()
