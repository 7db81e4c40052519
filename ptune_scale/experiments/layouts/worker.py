"""A rank of one layout: trains a few steps of the LAMA job and keeps what happened.

Kept are what a layout must not change (losses and dP of every step, the prompts at the end) and
what it may: elements on each rank, time, bytes on the network interface. Rounding grows from step
to step, as in any training, so dP is also taken at the very prompts that the reference run had.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import deepspeed  # noqa: F401 (imported here, its memory is not taken for the backbone's)
import psutil
import torch
from torch import Tensor

from ptune_scale.backbone.precision import torch_dtype
from ptune_scale.errors import UserError
from ptune_scale.experiments.layouts.memory import sampled_memory
from ptune_scale.files import writing
from ptune_scale.lama.launcher import PROGRAM
from ptune_scale.parallel import (
    Mesh,
    PromptFunction,
    StopSignal,
    World,
    count_local_elements,
)
from ptune_scale.parallel.launch.guard import guarded
from ptune_scale.parallel.launch.speaker import say
from ptune_scale.parallel.world import leave
from ptune_scale.run.site import Site
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import Objective
from ptune_scale.train.trainer import StepResult
from ptune_scale.tune.job import Job
from ptune_scale.tune.prompts import build_trainer


class Recorder:
    """A prompt function that keeps what goes through it.

    Args:
        given: the reference's inputs of every step.

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
            again = self._function.loss_and_gradient(batch, given, objective)
            self.kept["at_given"].append(again[1])
            self.extra_seconds += time.perf_counter() - started
        self.kept["inputs"].append(prompts.detach().clone())
        self.kept["losses"].append(loss.clone())
        self.kept["gradients"].append(gradient.clone())
        return loss, gradient

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def main(output: str, reference: str, *arguments: str) -> int:
    """Train with the flags of the LAMA job; nothing but the record is written.

    Args:
        output: where the first rank saves it.
        reference: what a single process kept, whose prompts dP is also taken at; "" for none.
    """
    try:
        checked = PROGRAM.check(PROGRAM.settle(PROGRAM.parse(arguments)))
        world = World.start()
        site = Site(Mesh.build(world, checked.degrees), StopSignal(world), Path(os.devnull))
        with sampled_memory() as sampled:
            job = Job.start(checked.config, checked.tasks, checked.backbone, site)
        given = torch.load(reference, weights_only=True)["inputs"] if reference else []
        _record(job, given, Path(output), max(sampled) - sampled[0])
    except UserError as error:
        # Whoever started the ranks takes the first of these lines.
        say(f"layouts: error: {error}")
        leave(2)
        return 2
    world.finish()
    return 0


def _record(job: Job, given: list[Tensor], output: Path, loading_bytes: int) -> None:
    recorder = Recorder(job.function, given)
    job.function = recorder  # type: ignore[assignment]
    asked, world = job.asked(), job.world
    trainer = build_trainer(job, asked, job.config.train, None, job.problem(asked))
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
    timed = max(1, count - skipped)
    result = {
        "layout": job.site.mesh.degrees.name,
        **recorder.kept,
        "prompts": trainer.selection.prompts,
        "local": world.gather(count_local_elements(recorder.engine.lm)),
        "loading_bytes": world.gather(loading_bytes),
        "element_size": torch_dtype(job.config.model.dtype).itemsize,
        "seconds_per_step": (seconds - recorder.extra_seconds) / timed,
        "bytes_per_step_and_rank": sent / timed / world.size / (2 if given else 1),
    }
    if world.is_main:
        with writing(output), output.open("wb") as stream:
            torch.save(result, stream)


def _bytes_sent() -> int:
    """Bytes that left over the loopback interface: with all ranks on one machine, all of them."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


if __name__ == "__main__":
    with guarded("layouts"):
        sys.exit(main(*sys.argv[1:]))
