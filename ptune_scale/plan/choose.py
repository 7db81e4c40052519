"""The layout of a job that asks for ranks and for no degrees: the fastest that fits.

A replica on each rank moves nothing but dP, so it is taken where it fits. ZeRO-3 is next: any model
and any method can have it. What is left, for models that are larger still, is what the planner
recommends of tensor and pipeline parallelism.
"""

import importlib.metadata
import math
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.parallel.remote.client import read_token
from ptune_scale.plan.layouts import LayoutPlan, Planner, considered, recommended
from ptune_scale.plan.ranks import RESERVE
from ptune_scale.plan.request import Request
from ptune_scale.run.check import check_layout, check_parts, check_served, open_backbone
from ptune_scale.run.config import ModelConfig, ParallelConfig, PromptConfig, ServedConfig
from ptune_scale.run.findings import finding

_TUNED_BYTES = 20
"""Of a parameter that trains, during a step; see ``parallel.tuned``."""

_HERE = ServedConfig()


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the ranks are to do, as far as it decides what has to fit.

    Attributes:
        rows: of a step, over all ranks.
        length: tokens of a long row.
        tasks: in the job.
        trains: there is a backward pass.
        tunes_backbone: a copy of the backbone trains beside the frozen one.
        whole_layers: no rank may have only a part of a layer, or only some of the layers.
        whole_model: no rank may have only a part of the weights.
    """

    rows: int
    length: int = 32
    tasks: int = 41
    trains: bool = True
    tunes_backbone: bool = False
    whole_layers: bool = False
    whole_model: bool = False


def open_in_layout(
    model: ModelConfig,
    parallel: ParallelConfig,
    prompt: PromptConfig,
    work: Work,
    *,
    served: ServedConfig = _HERE,
    method: str = "",
    dropout: bool = False,
) -> tuple[Degrees, Backbone]:
    """The model, opened, and its layout: that which is asked for, else the fastest that fits.

    Args:
        served: where the model is, if not here: then there is one rank, and the layout is theirs.
        method: as it was typed, for messages.
        dropout: run the model's own dropout in passes with a gradient.

    Raises:
        UserError: the first thing that does not go together.
    """
    if served.backbone:
        check_served(served, parallel, tunes=method if work.tunes_backbone else "", dropout=dropout)
        token = read_token(served.backbone_token)
        return Degrees(data=1), open_served(served.backbone, token, served.backbone_patience)
    ranks, tunes = parallel.num_gpus or launch.world_size(), work.tunes_backbone
    # What is wrong with flags is said before a model is looked for.
    degrees = check_layout(model, parallel, tunes_backbone=tunes, method=method)
    backbone = open_backbone(model, dropout=dropout)
    if parallel.is_open and ranks > 1:
        work = replace(
            work,
            whole_model=model.weight_bits != "full",
            whole_layers=work.whole_layers or dropout,
        )
        degrees = choose_layout(backbone, parallel, prompt, work)
    check_parts(backbone, degrees)
    return degrees, backbone


def choose_layout(
    backbone: Backbone, parallel: ParallelConfig, prompt: PromptConfig, work: Work
) -> Degrees:
    """The fastest layout that fits; said in a line by the first process of the job.

    What counts of a machine is the size of its memory, not how much of it is free, so that all
    ranks come to the same. What was planned for the same model, work and memory is kept.
    """
    # Without a backward pass one layer's activations are there at a time.
    at_a_time = 1 if work.trains else getattr(backbone.config, "num_hidden_layers", 1)
    settings = {
        "name": backbone.name,
        "num_gpus": parallel.num_gpus or launch.world_size(),
        "gpu_memory": _memory_of_a_rank(parallel),
        "attention": backbone.attention,
        "tasks": work.tasks,
        "encoder": prompt.encoder,
        "encoder_sharing": prompt.encoder_sharing,
        "encoder_placement": parallel.encoder_placement,
        "batch_size": math.ceil(work.rows / at_a_time),
        "sequence_length": min(work.length, context_length(backbone.config) or work.length),
    }
    circumstances = [
        backbone.config.to_json_string(),
        str(backbone.dtype),
        asdict(work),
        settings,
        *(importlib.metadata.version(name) for name in ("torch", "transformers")),
    ]
    found = finding("layouts", circumstances, lambda: _find(backbone, settings, work))
    if launch.is_first_rank():
        print(f"layout: {found['said']}", file=sys.stderr, flush=True)
    return Degrees.read(found["layout"])


def _find(backbone: Backbone, settings: dict[str, Any], work: Work) -> dict[str, str]:
    """The layout to take, and what is said of it."""
    request = Request(config=backbone.config, dtype=backbone.dtype, **settings)
    degrees, said = _best(request, work)
    return {"layout": degrees.written, "said": said}


def _best(request: Request, work: Work) -> tuple[Degrees, str]:
    planner, ranks, each = Planner(request), request.num_gpus, f"of {_size(request.gpu_memory)}"
    whole, shared = Degrees(data=ranks), Degrees(data=ranks, zero_stage=3)
    try:
        replicas = planner.plan(whole)
        needed, fits = _needed(replicas, work), _fits(replicas, work)
    except UserError:  # what its layers do depends on values, which a dry run does not have
        needed = 2 * request.parameters * request.dtype.itemsize
        fits = needed <= request.gpu_memory
        if not fits and not work.whole_model:
            return shared, f"ZeRO-3 on {ranks} ranks, as {_why(needed, each)}"
    if fits or work.whole_model:
        model = _size(request.parameters * request.dtype.itemsize)
        said = f"{ranks} replicas (model {model} each {each})"
        return whole, said if work.whole_model else f"{said}; --zero_stage 3 shares the weights"
    zero3 = planner.plan(shared)
    if _fits(zero3, work):
        said = f"ZeRO-3 on {ranks} ranks, as {_why(needed, each)}; --zero_stage 0 makes replicas"
        return shared, said
    if work.whole_layers or work.tunes_backbone:
        least = f"ZeRO-3 needs {_size(_needed(zero3, work))}, the least"
        return shared, f"ZeRO-3 on {ranks} ranks, as {_why(needed, each)}: nothing fits, {least}"
    parted = (degrees for degrees in considered(request) if not degrees.is_replicated)
    best, reason = recommended([replicas, zero3, *map(planner.plan, parted)])
    how = "--tensor_parallel, --pipeline_parallel and --zero_stage choose another"
    return best.degrees, f"{best.degrees.name}, as {_why(needed, each)}: {reason}; {how}"


def _why(needed: int, each: str) -> str:
    return f"a replica needs {_size(needed)} {each}"


def _needed(plan: LayoutPlan, work: Work) -> int:
    """Bytes of the fullest rank."""
    rank = plan.fullest
    return rank.memory["total"] + (_TUNED_BYTES * rank.parameters if work.tunes_backbone else 0)


def _fits(plan: LayoutPlan, work: Work) -> bool:
    return _needed(plan, work) <= plan.request.gpu_memory * (1 - RESERVE)


def _memory_of_a_rank(parallel: ParallelConfig) -> int:
    """Bytes of the smallest of the devices, or of the share that a rank has of the host."""
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        return min(torch.cuda.get_device_properties(each).total_memory for each in devices)
    here = parallel.num_gpus or launch.local_size()
    return max(1, launch.host_memory() // here - launch.RANK_BYTES)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
