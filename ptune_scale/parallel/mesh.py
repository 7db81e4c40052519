"""The ranks of a job arranged by degree: who shares a batch, a pipeline, a layer."""

import contextlib
import io
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ptune_scale.parallel.degrees import Degrees
from ptune_scale.parallel.world import World

DATA, PIPELINE, TENSOR = "data", "pipeline", "tensor"


@dataclass(frozen=True)
class Mesh:
    """This rank's place in a layout.

    Attributes:
        world: all ranks.
        degrees: the layout.
        data_rank, stage, tensor_rank: this rank's coordinates.
        device_mesh: dimensions "data", "pipeline", "tensor"; None on a single rank.
    """

    world: World
    degrees: Degrees
    data_rank: int
    stage: int
    tensor_rank: int
    device_mesh: DeviceMesh | None

    @classmethod
    def build(cls, world: World, degrees: Degrees) -> "Mesh":
        """Make the process groups; call on all ranks together."""
        data_rank, stage, tensor_rank = degrees.coordinates(world.rank)
        device_mesh = None
        if world.size > 1:
            shape = (degrees.data, degrees.pipeline, degrees.tensor)
            names = (DATA, PIPELINE, TENSOR)
            device_mesh = init_device_mesh(world.device.type, shape, mesh_dim_names=names)
        if degrees.has_tensor:
            _initialize_fairscale(degrees)
        return cls(world, degrees, data_rank, stage, tensor_rank, device_mesh)

    @property
    def is_first_stage(self) -> bool:
        return self.stage == 0

    @property
    def is_last_stage(self) -> bool:
        return self.stage == self.degrees.pipeline - 1

    def least(self, numbers: list[int]) -> list[int]:
        """Of each number, the least on all ranks that compute the same rows as this one."""
        shared = [(PIPELINE, self.degrees.has_pipeline), (TENSOR, self.degrees.has_tensor)]
        found = torch.tensor(numbers, device=self.world.device)
        for dimension, is_shared in shared:
            if is_shared:
                dist.all_reduce(found, dist.ReduceOp.MIN, group=self.group(dimension))
        return found.tolist()

    def group(self, dimension: str) -> dist.ProcessGroup:
        """The process group of this rank along a dimension; there is none in a single process."""
        return self.along(dimension).get_group()

    def along(self, dimension: str) -> DeviceMesh:
        """The ranks that differ from this one in one coordinate alone."""
        if self.device_mesh is None:
            raise RuntimeError("a single rank has no groups")
        return self.device_mesh[dimension]


def _initialize_fairscale(degrees: Degrees) -> None:
    """fairscale's layers find their process group in its own global state.

    It arranges ranks as (data, pipeline, model), the same order as ours.
    """
    from fairscale.nn.model_parallel import initialize

    if initialize.model_parallel_is_initialized():
        initialize.destroy_model_parallel()
    with contextlib.redirect_stdout(io.StringIO()):
        initialize.initialize_model_parallel(degrees.tensor, degrees.pipeline)
