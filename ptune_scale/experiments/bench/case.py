"""What all sides of a measurement train on, and how a trainer of ours is made for it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.backbone.precision import torch_dtype
from ptune_scale.backbone.shortcuts import DEFAULT, PLAIN, Shortcuts
from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.parallel import Degrees, Mesh, PromptFunction, StopSignal, World
from ptune_scale.run.config import ModelConfig, TrainConfig
from ptune_scale.run.site import Site
from ptune_scale.run.speed import Planned, choose_speed
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Splits, Task
from ptune_scale.train.trainer import Trainer
from ptune_scale.tune.job import Job
from ptune_scale.tune.planned import planned
from ptune_scale.tune.prompts import build_trainer

# Training that does not end, is never evaluated, and has the same learning rate throughout.
_ENDLESS = TrainConfig(
    max_steps=10**9, eval_every=10**9, patience=0, schedule="constant", warmup=0.0, lr=1e-3
)


_LONG = 10**6
"""Tokens of a job that is worth every wait at its start."""


@dataclass(frozen=True)
class Case:
    """What is trained on, by whichever side.

    Attributes:
        tasks: all with one pattern; answers are single tokens.
        model, train: of ours; its dtype is that of some other sides too.
        attention, shortcuts: how ours computes.
        text_cache: whether ours keeps keys and values of texts before all slots between steps.
        device: where all sides compute.
    """

    config: BenchSections
    tasks: tuple[Task, ...]
    model: ModelConfig
    train: TrainConfig
    attention: str = "eager"
    shortcuts: Shortcuts = DEFAULT
    text_cache: bool = False
    device: torch.device = torch.device("cpu")

    @classmethod
    def of(cls, config: BenchSections, tasks: Sequence[Task]) -> "Case":
        """What was asked for.

        Raises:
            UserError: the model is none that all sides can take, or nothing is left to learn from.
        """
        data, model = config.data, config.model
        size, mixed = data.batch_size, data.tasks_per_batch
        train = replace(_ENDLESS, batch_size=size, tasks_per_batch=mixed, seed=data.seed)
        case = cls(config, tuple(tasks), model, train)
        if not case.num_slots:
            raise UserError(f"pattern {case.pattern.text!r} has no prompt slot [P] to train")
        if case.backbone.kind != "causal":
            raise UserError(f"model {model.model} is a masked model; only causal ones are compared")
        if case.backbone.config.model_type == "fairseq_megatron":
            raise UserError(f"model {model.model}: the other sides take Hugging Face models only")
        token, kept = case.backbone.tokens.word_token, []
        for task in tasks:
            known = (r for r in task.splits.train if r.answer and token(r.answer) is not None)
            splits = Splits(tuple(known), (), ())
            kept += [replace(task, splits=splits)] if splits.train else []
        if not kept:
            raise UserError(f"no fact of {data.data_dir} has an object of one token")
        return replace(case, tasks=tuple(kept))

    def at_its_fastest(self) -> "Case":
        """The same, computed by ours as a long job on the same would be."""
        if self.model.speed == "plain":
            return replace(self, shortcuts=PLAIN)
        backbone = replace(self, attention="eager", shortcuts=DEFAULT).backbone
        choose_speed(backbone, self.mesh, lambda: self._planned(backbone))
        return replace(self, attention=backbone.attention, shortcuts=backbone.shortcuts)

    def _planned(self, backbone: Backbone) -> Planned:
        return replace(planned(self.config, self.tasks, backbone), trained=_LONG)

    @property
    def pattern(self) -> Pattern:
        return self.tasks[0].wording.pattern

    @property
    def num_slots(self) -> int:
        return self.pattern.num_slots

    @property
    def dtype(self) -> torch.dtype:
        return torch_dtype(self.model.dtype)

    @cached_property
    def backbone(self) -> Backbone:
        """The model, of which no weight has been read."""
        return load_backbone(
            self.model.model,
            dtype=self.dtype,
            attention=self.attention,
            shortcuts=self.shortcuts,
        )

    @property
    def mesh(self) -> Mesh:
        """Of one process on the case's device."""
        return Mesh.build(World(device=self.device), Degrees())

    def trainer(self, function: PromptFunction) -> Trainer:
        """A trainer at step 0, as a job would make it; nothing of it is written."""
        site = Site(self.mesh, StopSignal(self.mesh.world), Path(os.devnull))
        job = Job(self.config, self.tasks, self.backbone, function, site)
        asked = job.asked()
        return build_trainer(job, asked, self.train, None, job.problem(asked))
