"""What all sides of a measurement train on, and how a job of ours is made for it."""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ptune_scale.assemble import build_job
from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.config import LamaConfig
from ptune_scale.data.facts import FactSet
from ptune_scale.errors import UserError
from ptune_scale.job import Job
from ptune_scale.parallel import Degrees, Mesh, StopSignal, World
from ptune_scale.template import Template

# Training that does not end, is never evaluated, and has the same learning rate throughout.
_ENDLESS = {
    "max_steps": 10**9,
    "eval_every": 10**9,
    "patience": 0,
    "schedule": "constant",
    "warmup": 0.0,
    "lr": 1e-3,
    "dev_facts": 1,
    "test_facts": 1,
}


@dataclass(frozen=True)
class Case:
    """What is trained on, by whichever side.

    Attributes:
        flags: settings of the LAMA job, by the names of its flags.
        facts: the relations.
        device: where all sides compute.
    """

    flags: dict[str, Any]
    facts: FactSet
    device: torch.device = torch.device("cpu")

    def with_flags(self, **flags: Any) -> "Case":
        """The same with other settings."""
        return replace(self, flags={**self.flags, **flags})

    def with_facts(self, facts: FactSet) -> "Case":
        """The same with other facts."""
        return replace(self, facts=facts)

    def on(self, device: torch.device) -> "Case":
        """The same on another device."""
        return replace(self, device=device)

    @cached_property
    def config(self) -> LamaConfig:
        return LamaConfig.from_flags(self.flags)

    @property
    def dtype(self) -> torch.dtype:
        """Of our backbone."""
        return getattr(torch, self.config.model.dtype)

    @cached_property
    def backbone(self) -> Backbone:
        """The model, of which no weight has been read."""
        model = self.config.model
        return load_backbone(model.model, dtype=self.dtype, attention=model.attention)

    @cached_property
    def template(self) -> Template:
        return Template.parse(self.config.prompt.template)

    def check(self) -> None:
        """Make sure that all sides can run.

        Raises:
            UserError: the model is not a causal Hugging Face model.
        """
        source = self.config.model.model
        if self.backbone.kind != "causal":
            raise UserError(f"model {source} is a masked model; only causal ones are compared")
        if self.backbone.config.model_type == "fairseq_megatron":
            raise UserError(f"model {source}: the other sides take Hugging Face models only")

    def job(self) -> Job:
        """A job of ours in one process, of which nothing is written.

        Raises:
            UserError: facts, template or checkpoint do not fit the model.
        """
        flags = {"candidates": "full_vocab", **self.flags, **_ENDLESS}
        world = World(device=self.device)
        mesh = Mesh.build(world, Degrees())
        return build_job(
            LamaConfig.from_flags(flags),
            self.facts,
            flags,
            mesh,
            StopSignal(world),
            Path(os.devnull),
        )
