"""DeepSpeed, started without what it does not need here; also in a process without a launcher."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from ptune_scale.parallel.world import World


def start_deepspeed(world: World) -> None:
    """Let DeepSpeed join the ranks of the job; again and again does no harm.

    It knows no job without a process group, so a process that is alone becomes the only member of
    one, until ``leave_group``.
    """
    silence_deepspeed(world.device)
    import deepspeed
    import deepspeed.ops

    if world.device.type == "cpu":
        # DeepSpeed would compile a shared-memory op here, for an all-reduce that is not used.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if world.size == 1 and not dist.is_initialized():
        backend = "nccl" if world.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    deepspeed.init_distributed()


def leave_group(world: World) -> None:
    """Undo what ``start_deepspeed`` did to a process that is alone."""
    if world.size == 1 and dist.is_initialized():
        import deepspeed

        deepspeed.comm.destroy_process_group()


@contextmanager
def local_rank() -> Iterator[None]:
    """Tell DeepSpeed which device it is on, where no launcher has."""
    given = "LOCAL_RANK" in os.environ
    os.environ.setdefault("LOCAL_RANK", "0")
    try:
        yield
    finally:
        if not given:
            del os.environ["LOCAL_RANK"]


def silence_deepspeed(device: torch.device) -> None:
    """Keep DeepSpeed from telling the user what the user cannot change."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else it warns that it found nothing else
    # It calls collectives by names that PyTorch is about to retire, in every step.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
