"""One rank of a layout: what it holds between steps, needs within one, and sends.

Between steps a rank keeps its part of the backbone and, where prompts are spliced, prompt encoders:
parameters, gradients and Adam's two moments in fp32, 16 bytes a parameter. Within a step come
activations and, under ZeRO-3, weights gathered from other ranks.
"""

import math
from dataclasses import dataclass

from transformers import PreTrainedModel

from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.pipeline import LENGTH_MULTIPLE
from ptune_scale.parallel.placement import EncoderPlacement
from ptune_scale.parallel.slices import local_shape
from ptune_scale.plan.activations import Activations
from ptune_scale.plan.communication import Communication, Gathering, per_step
from ptune_scale.plan.request import Request

RESERVE = 0.1
"""Share of a GPU's memory that is left to CUDA, NCCL and fragmentation."""

_TRAINED_BYTES = 16


@dataclass(frozen=True)
class RankPlan:
    """What one rank, and those that have the same to do, need.

    Attributes:
        stage: the pipeline stage, the first of several that are alike.
        count: how many ranks are like this one.
        layers: of the backbone.
        parameters: of the backbone, kept between steps.
        prompt_encoder_parameters: trained here.
        memory: bytes while a step runs: "backbone", "gathered" (by ZeRO-3), "prompt_encoders",
            "activations" and their "total".
        communication: bytes that it sends in a step.
        largest_batch: most rows per step, over all ranks, for which this rank has the memory.
    """

    stage: int
    count: int
    layers: int
    parameters: int
    prompt_encoder_parameters: int
    memory: dict[str, int]
    communication: Communication
    largest_batch: int

    @property
    def sent(self) -> int:
        """Bytes that this rank sends in a step."""
        return sum(sum(both.values()) for both in self.communication.values())


def plan_rank(
    request: Request,
    mesh: Mesh,
    model: PreTrainedModel,
    activations: Activations,
    *,
    layers: int,
    count: int,
    tied: bool,
) -> RankPlan:
    """Work out what a rank needs.

    Args:
        model: on the meta device, as ``parallelize.shape`` makes it.
        layers: that it has.
        count: how many ranks are like this one.
        tied: word embeddings and head are one parameter of the whole model.
    """
    degrees, width = mesh.degrees, request.dtype.itemsize
    sizes = [local_shape(parameter).numel() for parameter in model.parameters()]
    gathering = Gathering()
    if degrees.zero_stage == 3:
        gathering = Gathering.of(model, request.dtype, tied)
        sizes = [math.ceil(size / degrees.data) for size in sizes]
    placement = EncoderPlacement.build(request.encoder_placement, mesh, request.num_groups)
    trained = len(placement.held) * request.group_parameters
    stage = _Stage(request, mesh, activations, layers)
    rows = math.ceil(request.batch_size / degrees.data)
    memory = {
        "backbone": sum(sizes) * width,
        "gathered": gathering.most * width,
        "prompt_encoders": trained * _TRAINED_BYTES,
    }
    free = int(request.gpu_memory * (1 - RESERVE)) - sum(memory.values())
    memory["activations"] = stage.bytes_for(rows)
    memory["total"] = sum(memory.values())
    rows_per_part = math.ceil(rows / stage.parts)
    communication = per_step(
        mesh,
        activations.at(rows_per_part, layers),
        parts=stage.parts,
        hidden_bytes=stage.parts * stage.hidden_bytes(rows_per_part),
        gathering=gathering,
        element_bytes=width,
        prompt_bytes=request.prompt_bytes,
        tasks=request.tasks,
        everyone_encodes=all(len(ranks) == mesh.world.size for ranks in placement.holders),
    )
    return RankPlan(
        stage=mesh.stage,
        count=count,
        layers=layers,
        parameters=sum(sizes),
        prompt_encoder_parameters=trained,
        memory=memory,
        communication=communication,
        largest_batch=degrees.data * stage.most_rows(free),
    )


def padded_length(length: int, mesh: Mesh) -> int:
    """Tokens of a row as a stage sees it."""
    return length + (-length % LENGTH_MULTIPLE if mesh.degrees.pipeline > 1 else 0)


class _Stage:
    """Activations of a step, which a pipeline computes in as many micro-batches as it has stages.

    Attributes:
        parts: number of micro-batches.
    """

    def __init__(self, request: Request, mesh: Mesh, activations: Activations, layers: int) -> None:
        self._mesh, self._activations, self._layers = mesh, activations, layers
        self.parts = mesh.degrees.pipeline
        length = padded_length(request.sequence_length, mesh)
        self._hidden = length * request.config.hidden_size * request.dtype.itemsize

    def hidden_bytes(self, rows: int) -> int:
        """Bytes of hidden states that pass from stage to stage."""
        return rows * self._hidden

    def bytes_for(self, rows: int) -> int:
        """Bytes at the fullest moment of a step of so many rows.

        One micro-batch is being computed while others under way wait for their backward pass.
        The pipeline library has receive buffers for all of them; what it received for those
        under way is among what they keep.
        """
        rows_per_part = math.ceil(rows / self.parts)
        one = self._activations.at(rows_per_part, self._layers)
        under_way = min(self.parts, self._mesh.degrees.pipeline - self._mesh.stage)
        buffers = 0 if self._mesh.is_first_stage else self.parts - under_way
        buffers += 0 if self._mesh.is_last_stage else self.parts
        return one.peak + (under_way - 1) * one.kept + buffers * self.hidden_bytes(rows_per_part)

    def most_rows(self, free: int) -> int:
        """The most rows whose activations take no more bytes, by bisection."""
        low, high = 0, 1
        while self.bytes_for(high) <= free:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if self.bytes_for(middle) <= free:
                low = middle
            else:
                high = middle
        return low
