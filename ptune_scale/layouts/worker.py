"""A rank of one layout: trains a few steps of the LAMA job and keeps what happened.

Kept are what a layout must not change (losses and dP of every step, the prompts at the end) and
what it may: elements on each rank, time, bytes on the network interface. Rounding grows from step
to step, as in any training, so dP is also taken at the very prompts that the reference run had.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any

import deepspeed  # noqa: F401 (imported here, its memory is not taken for the backbone's)
import psutil
import torch
from torch import Tensor

from ptune_scale.assemble import build_job
from ptune_scale.check import check
from ptune_scale.cli import parse
from ptune_scale.command import degrees_of
from ptune_scale.config import LamaConfig
from ptune_scale.data.batch import Batch
from ptune_scale.errors import UserError
from ptune_scale.job import Job
from ptune_scale.lama import PROGRAM
from ptune_scale.layouts.memory import PeakMemory
from ptune_scale.methods import ptuning
from ptune_scale.methods.prompts import build_trainer
from ptune_scale.parallel import (
    Mesh,
    Objective,
    PromptFunction,
    StopSignal,
    World,
    count_local_elements,
)
from ptune_scale.parallel.world import leave
from ptune_scale.train import StepResult

REFERENCE = "PTUNE_SCALE_LAYOUT_REFERENCE"
"""Environment variable: what a single process kept, whose prompts dP is also taken at."""
OUTPUT = "PTUNE_SCALE_LAYOUT_OUTPUT"
"""Environment variable that makes a process a worker: where the first rank saves."""
ERROR = "layouts.py: error: "
"""How a line begins that says what is wrong."""


class Recorder:
    """A prompt function that keeps what goes through it.

    Attributes:
        kept: inputs, losses and dP of every step, and dP at the reference's inputs.
        extra_seconds: taken by the latter.
    """

    def __init__(self, function: PromptFunction, given: list[Tensor]) -> None:
        self._function = function
        self._given = given
        self.kept: dict[str, list[Tensor]] = {
            name: [] for name in ("inputs", "losses", "gradients", "at_given")
        }
        self.extra_seconds = 0.0

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective
    ) -> tuple[Tensor, Tensor]:
        """As the function that is recorded does."""
        loss, gradient = self._function.loss_and_gradient(batch, prompts, objective)
        if self._given:
            started = time.perf_counter()
            given = self._given[len(self.kept["losses"])]
            self.kept["at_given"].append(
                self._function.loss_and_gradient(batch, given, objective)[1]
            )
            self.extra_seconds += time.perf_counter() - started
        self.kept["inputs"].append(prompts.detach().clone())
        self.kept["losses"].append(loss.clone())
        self.kept["gradients"].append(gradient.clone())
        return loss, gradient

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def run(arguments: list[str]) -> int:
    """Train with the flags of the LAMA job; nothing but the record is written."""
    try:
        _, flags = parse(arguments, PROGRAM)
        config = LamaConfig.from_flags(flags)
        facts = check(config)
        world = World.start()
        mesh = Mesh.build(world, degrees_of(config.parallel, world.size))
        with PeakMemory() as loading:
            job = build_job(config, facts, flags, mesh, StopSignal(world), Path(os.devnull))
        _record(job, Path(os.environ[OUTPUT]), loading.growth)
    except UserError as error:
        # Whoever started the ranks takes the first of these lines.
        print(f"{ERROR}{error}", file=sys.stderr, flush=True)
        leave(2)
        return 2
    world.finish()
    return 0


def _record(job: Job, output: Path, loading_bytes: int) -> None:
    reference = os.environ.get(REFERENCE)
    given = torch.load(reference, weights_only=True)["inputs"] if reference else []
    recorder = Recorder(job.function, given)
    job = dataclasses.replace(job, function=recorder)
    trainer = build_trainer(job, ptuning.setup(job.config.prompt, job.facts, job.backbone))
    world = job.function.world
    seconds, count = 0.0, 0
    # Connections, schedules and buffers are made at first use: the second half is timed.
    skipped = trainer.planned_steps // 2
    sent = _bytes_sent()
    started = time.perf_counter()
    for event in trainer.train():
        now = time.perf_counter()
        if isinstance(event, StepResult):
            seconds, count = seconds + now - started, count + 1
            if count == skipped:
                world.gather(None)
                seconds, recorder.extra_seconds, sent = 0.0, 0.0, _bytes_sent()
        started = time.perf_counter()
    world.gather(None)
    sent = _bytes_sent() - sent
    passes = 2 if given else 1
    loading = world.gather(loading_bytes)
    local = world.gather(count_local_elements(job.function.engine.lm))
    if world.is_main:
        result = {
            "layout": job.function.mesh.degrees.name,
            **recorder.kept,
            "prompts": trainer.selection.prompts,
            "local": local,
            "loading_bytes": loading,
            "element_size": getattr(torch, job.config.model.dtype).itemsize,
            "seconds_per_step": (seconds - recorder.extra_seconds) / max(1, count - skipped),
            "bytes_per_step_and_rank": sent / max(1, count - skipped) / world.size / passes,
        }
        torch.save(result, output)


def _bytes_sent() -> int:
    """Bytes that left over the loopback interface: with all ranks on one machine, all of them."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent
