"""What a rank sends in a step, beside what its layers themselves send (counted in the dry run).

Ring algorithms are assumed: of W bytes on n ranks, an all-reduce sends 2 W (n - 1) / n from each
rank, an all-gather half of that.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from ptune_scale.parallel import zero3
from ptune_scale.parallel.footprint import (
    ALL_GATHER,
    ALL_REDUCE,
    BACKWARD,
    FORWARD,
    Footprint,
    sent,
)
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.slices import local_shape

POINT_TO_POINT = "point_to_point"

Communication = dict[str, dict[str, int]]
"""Collective -> "forward" and "backward" -> bytes that a rank sends."""


@dataclass(frozen=True)
class Gathering:
    """What ZeRO-3 fetches from the data-parallel ranks in a step, in elements; upper bounds.

    Attributes:
        most: here at one time.
        forward, backward: in each pass.
    """

    most: int = 0
    forward: int = 0
    backward: int = 0

    @classmethod
    def of(cls, model: PreTrainedModel, dtype: torch.dtype, tied: bool) -> "Gathering":
        """By the settings of ``ds_configs/zero3.json``, once DeepSpeed knows the order of modules.

        A weight stays from the forward to the backward pass if fewer elements than
        ``stage3_max_reuse_distance`` are used between, which is so for the last half as many
        elements; others stay by the way, as the prefetcher comes upon them. (The first step, in
        which the order is found out, gathers everything twice.) The prefetcher runs ahead until
        ``stage3_max_live_parameters`` are here. Word embeddings have no backward pass, as nothing
        trains in front of them.

        Args:
            model: this rank's part.
            tied: word embeddings and head are one parameter.
        """
        settings = zero3.read_config(zero3.DEFAULT_CONFIG, dtype)["zero_optimization"]
        stay = settings["stage3_max_reuse_distance"] // 2
        sizes = [local_shape(parameter).numel() for parameter in model.parameters()]
        words = local_shape(model.get_input_embeddings().weight).numel()
        total = sum(sizes)
        most = min(total, settings["stage3_max_live_parameters"] + max(sizes))
        if total <= stay:
            return cls(most, total, 0)
        # A tied head may come too late to find the word embeddings still here.
        forward, backward = (total + words, total) if tied else (total, total - words)
        return cls(most, forward, max(0, backward - stay))


def per_step(
    mesh: Mesh,
    layers: Footprint,
    *,
    parts: int,
    hidden_bytes: int,
    gathering: Gathering,
    element_bytes: int,
    prompt_bytes: int,
    tasks: int,
    everyone_encodes: bool,
) -> Communication:
    """What a rank sends in a step.

    Args:
        layers: of one micro-batch.
        parts: number of micro-batches.
        hidden_bytes: of the hidden states that go from stage to stage in all of them.
        element_bytes: of a weight.
        prompt_bytes: of the prompt matrix P.
        everyone_encodes: no rank needs others for a part of P.
    """
    total: Communication = {
        kind: {FORWARD: 0, BACKWARD: 0} for kind in (ALL_GATHER, ALL_REDUCE, POINT_TO_POINT)
    }

    def add(kind: str, direction: str, count: int) -> None:
        both = total.setdefault(kind, {FORWARD: 0, BACKWARD: 0})
        both[direction] += count

    for (kind, direction), count in layers.traffic.items():
        add(kind, direction, parts * count)
    for direction, elements in ((FORWARD, gathering.forward), (BACKWARD, gathering.backward)):
        add(ALL_GATHER, direction, sent(ALL_GATHER, elements * element_bytes, mesh.degrees.data))
    if not mesh.is_last_stage:
        add(POINT_TO_POINT, FORWARD, hidden_bytes)
    if not mesh.is_first_stage:
        add(POINT_TO_POINT, BACKWARD, hidden_bytes)
    # P comes to all ranks as a sum to which its holders alone contribute; dP and losses are
    # summed over all ranks.
    size = mesh.world.size
    if not everyone_encodes:
        add(ALL_REDUCE, FORWARD, sent(ALL_REDUCE, prompt_bytes, size))
    add(ALL_REDUCE, BACKWARD, sent(ALL_REDUCE, prompt_bytes + 4 * tasks, size))
    return total
