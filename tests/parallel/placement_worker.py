"""Run by torchrun, or alone: the same training with encoders in several places.

Arguments: model directory, output directory, runs as NAME=PLACEMENT-PIPELINE or, to go on from the
checkpoint of run OTHER, NAME=PLACEMENT-PIPELINE-OTHER. Each run saves a checkpoint half way.
"""

import functools
import sys
from pathlib import Path
from typing import Any

import torch

from ptune_scale import checkpoint
from ptune_scale.backbone import load_backbone
from ptune_scale.config import TrainConfig
from ptune_scale.data.batch import Example
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.sampler import RelationOrder
from ptune_scale.parallel import Degrees, EncoderPlacement, Mesh, World, parallelize
from ptune_scale.problem import FactProblem
from ptune_scale.prompt import PromptBank
from ptune_scale.train import StepResult, Trainer, facts_per_visit

RELATIONS = ["P17", "P19", "P36", "P103"]
SLOTS = 2
SAVED_AT = 6
CONFIG = TrainConfig(
    max_steps=14, batch_size=8, relations_per_batch=2, eval_every=3, lr=1e-2, warmup=0.0
)


def examples(relation: int, count: int, seed: int) -> list[Example]:
    generator = torch.Generator().manual_seed(10 * relation + seed)
    made = []
    for row in range(count):
        length = 1 + row % 4
        words = torch.randint(0, 60, (length,), generator=generator).tolist()
        label = int(torch.randint(0, 60, (1,), generator=generator))
        made.append(Example(relation, (0, *words, 0), (0, *[-1] * length, 1), (length + 1,), label))
    return made


def build(model: str, world: World, kind: str, pipeline: int) -> Trainer:
    degrees = Degrees.resolve(world.size, pipeline=pipeline, zero_stage=0)
    mesh = Mesh.build(world, degrees)
    backbone = load_backbone(model, dtype=torch.float32)
    placement = EncoderPlacement.build(kind, mesh, len(RELATIONS))
    bank = PromptBank(
        RELATIONS,
        SLOTS,
        backbone.hidden_size,
        sharing="none",
        seed=CONFIG.seed,
        held=placement.held,
    )
    size = facts_per_visit(CONFIG, len(RELATIONS))
    function = parallelize(backbone, mesh)
    return Trainer(
        bank,
        function,
        [
            RelationOrder(name, examples(i, 11, seed=1), size, CONFIG.seed)
            for i, name in enumerate(RELATIONS)
        ],
        FactProblem(
            function,
            [examples(i, 5, seed=2) for i in range(len(RELATIONS))],
            Candidates(backbone.vocab_size, {"full_vocab": None}),
            CONFIG,
            pad=0,
        ),
        CONFIG,
        placement,
    )


def run(model: str, output: Path, world: World, name: str, how: str) -> dict[str, Any]:
    kind, pipeline, *resumed = how.split("-")
    trainer = build(model, world, kind, int(pipeline))
    if resumed:
        read = functools.partial(checkpoint.load_part, checkpoint.find(output / resumed[0]))
        trainer.load_state_dict(read("state"))
        trainer.encoders.load_parts(read)
        assert trainer.step == SAVED_AT
    for event in trainer.train():
        if not resumed and isinstance(event, StepResult) and event.step == SAVED_AT:
            parts = trainer.encoders.parts()
            if world.is_main:
                parts["state"] = trainer.state_dict()
            checkpoint.save(output / name, event.step, parts, {}, {}, world=world)
    # What each rank ended with: it must be the same on all.
    outcomes = world.gather((trainer.losses, trainer.selection.best, trainer.selection.stopped))
    prompts = torch.zeros(world.size, *trainer.bank.shape)
    prompts[world.rank] = trainer.selection.prompts
    return {
        "layout": trainer.function.mesh.degrees.name,
        "outcomes": outcomes,
        "prompts": world.sum_(prompts),
        "bytes": trainer.encoders.bytes_held(),
        "groups": world.gather(trainer.bank.groups.keys() | set()),
        "parameters": trainer.bank.num_parameters,
    }


def main() -> None:
    model, output, *runs = sys.argv[1:]
    world = World.start()
    for name, how in (one.split("=") for one in runs):
        result = run(model, Path(output), world, name, how)
        if world.is_main:
            torch.save(result, Path(output) / f"{name}.pt")
    world.finish()


if __name__ == "__main__":
    main()
