"""Run on ranks: losses, prompt gradients and ranks of fixed batches, in several layouts.

Layouts are TENSOR-PIPELINE-ZERO_STAGE, optionally with "bf16" behind it, or for ZeRO-3 the name of
a file in ds_configs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import deepspeed
import torch
from torch import nn

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.shortcuts import DEFAULT, PLAIN
from ptune_scale.parallel import Degrees, Mesh, TextLimit, World, count_local_elements, parallelize
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_ANSWER, Batch, Example, collate
from ptune_scale.task.objective import Vocabulary, mean_cross_entropy

CONFIGS = Path(__file__).resolve().parents[2] / "ds_configs"
VOCABULARY = 60
STOP = range(0, 65, 4)
"""Tokens that end a text: some rows end at once, some later, some not at all."""


def fixed_batch(rows: int, longest: int, group_size: int = 1) -> Batch:
    """Rows of several lengths; slots around the words in one task, behind them in the other."""
    generator = torch.Generator().manual_seed(rows)
    examples = []
    for row in range(rows):
        length = 2 + row % (longest - 3)
        words = torch.randint(5, VOCABULARY, (length,), generator=generator).tolist()
        answer = int(torch.randint(5, VOCABULARY, (1,), generator=generator))
        if row % 2:
            ids, slots = (*words, 0, 0), (*[-1] * length, 0, 1)
        else:
            ids, slots = (0, *words, 0), (0, *[-1] * length, 1)
        examples.append(Example(row % 2, ids, slots, (length + 1,), (answer,)))
    return collate(examples, group_size=group_size)


def with_more_targets(batch: Batch) -> Batch:
    """Every third row asks for three tokens, for the second of which no answer is known."""
    rows = [
        replace(row, targets=(1, 2, *row.targets), answers=(row.answers[0], NO_ANSWER, 7))
        if number % 3 == 0
        else row
        for number, row in enumerate(batch.examples)
    ]
    return collate(rows)


def first_of_two_is_right(vocabulary: Vocabulary, logits: torch.Tensor, batch: Batch):
    """An objective that compares rows: hinge loss between the two rows of a group, (N,)."""
    picked = vocabulary.pick(logits, batch.answers.unsqueeze(-1))
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
        texts=None if world.size == 1 else TextLimit(1, Path(gettempdir())),
    )
    lm = function.engine.lm
    assert world.size == 1 or (lm.texts is not None) == lm.can_keep_texts()
    before = weights_of(lm)
    shape = (2, 2, backbone.hidden_size)
    prompts = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    candidates = Candidates(
        backbone.vocab_size,
        {"full_vocab": None, "even": list(range(0, VOCABULARY, 2))},
        {"task": [[5, 6, 7, 8], [9, 10, 11]]},
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
    spans = with_more_targets(fixed_batch(9, 9))
    losses, gradient = function.loss_and_gradient(spans, prompts, mean_cross_entropy)
    result["losses"].append(losses)
    result["gradients"].append(gradient)
    result["ranks"].append(function.ranks(spans, prompts, candidates))
    result["log_probabilities"] = function.log_probabilities(spans, prompts)
    result["embeddings"] = backbone.embeddings.sample
    result["top"] = function.top(fixed_batch(3, 8), prompts, 4)
    if backbone.kind == "causal":
        written = function.generate(fixed_batch(9, 9), prompts, max_tokens=6, stop=STOP)
        result["tokens"] = [list(one.tokens) for one in written]
        result["ended"] = [one.ended for one in written]
        result["scores"] = [list(one.log_probabilities) for one in written]
        result["has_cache"] = function.has_cache
    if degrees.has_pipeline and world.size == 2:
        for rows in range(1, 40, 2):
            function.top(fixed_batch(rows, 9), prompts, 1)
        result["schedules"] = world.max(len(function.engine._schedules))
    counts = torch.zeros(world.size, dtype=torch.int64)
    counts[world.rank] = count_local_elements(lm)
    result["local"] = world.sum_(counts)
    changed = any(not torch.equal(a, b) for a, b in zip(before, weights_of(lm), strict=True))
    touched = any(p.grad is not None or p.requires_grad for p in lm.parameters())
    result["same_bytes"] = not world.max(int(changed))
    result["untouched"] = not world.max(int(touched))
    return result


def main(model: str, output: Path, layouts: Sequence[str]) -> None:
    """Results go to files in ``output``, by layout."""
    world = World.start()
    for layout in layouts:
        result = run_layout(model, layout, world)
        if world.is_main:
            torch.save(result, output / f"{layout}.pt")
    world.finish()
