"""Run on ranks, or alone: the same training with encoders in several places.

Runs are NAME=PLACEMENT-PIPELINE or, to go on from the checkpoint of run OTHER,
NAME=PLACEMENT-PIPELINE-OTHER. Each run saves a checkpoint half way.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.parallel import Degrees, EncoderPlacement, Mesh, World, parallelize
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.train import checkpoint
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.problem import TaskProblem, asker_of
from ptune_scale.train.schedule import records_per_visit
from ptune_scale.train.trainer import StepResult, Trainer
from tests.tiny import bank_of

NAMES = ["P17", "P19", "P36", "P103"]
SLOTS = 2
SAVED_AT = 6
CONFIG = TrainConfig(
    max_steps=14, batch_size=8, tasks_per_batch=2, eval_every=3, lr=1e-2, warmup=0.0
)


def task(name: str) -> Task:
    """Records of one to four letters and a letter that answers them, by chance."""
    chance = Random(name)

    def records(count: int) -> tuple[Record, ...]:
        return tuple(
            Record(
                str(number),
                {"subject": " ".join(chance.choices(ascii_lowercase, k=chance.randint(1, 4)))},
                chance.choice(ascii_lowercase),
            )
            for number in range(count)
        )

    wording = Wording(Pattern.parse("[P] [X] [P] [Y]"), Ranked({"all": None}, one_token=True))
    return Task(name, wording, Splits(records(11), records(5), records(1)))


def build(model: str, world: World, kind: str, pipeline: int) -> Trainer:
    degrees = Degrees.resolve(world.size, pipeline=pipeline, zero_stage=0)
    mesh = Mesh.build(world, degrees)
    backbone = load_backbone(model, dtype=torch.float32)
    placement = EncoderPlacement.build(kind, mesh, len(NAMES))
    bank = bank_of(
        NAMES,
        SLOTS,
        backbone.hidden_size,
        sharing="none",
        seed=CONFIG.seed,
        held=placement.held,
    )
    function = parallelize(backbone, mesh)
    tasks = [AskedTask(task(name), backbone.tokens, i) for i, name in enumerate(NAMES)]
    size = records_per_visit(CONFIG, len(NAMES))
    return Trainer(
        bank,
        function,
        [
            TaskOrder(name, each.learn, size, CONFIG.seed)
            for name, each in zip(NAMES, tasks, strict=True)
        ],
        TaskProblem(asker_of(function, CONFIG, torch.zeros(bank.shape)), tasks),
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
            checkpoint.save(
                output / name, event.step, parts, {"method": "ptuning"}, {}, world=world
            )
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


def main(model: str, output: Path, runs: Sequence[str]) -> None:
    """Results go to files in ``output``, by run."""
    world = World.start()
    for name, how in (one.split("=") for one in runs):
        result = run(model, output, world, name, how)
        if world.is_main:
            torch.save(result, output / f"{name}.pt")
    world.finish()
