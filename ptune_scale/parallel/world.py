"""The ranks of a job and the few collectives that the system uses."""

import hashlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among the ranks of the job.

    Attributes:
        rank, size: position among all ranks.
        device: where this rank computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @classmethod
    def start(cls) -> "World":
        """Join the process group that the launcher describes in the environment.

        On a CPU-only host the cores are shared out between the ranks of the node.
        """
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        if torch.cuda.is_available():
            device = torch.device("cuda", local_rank)
            torch.cuda.set_device(device)
        else:
            device = torch.device("cpu")
            local_size = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", size)))
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_size))
        if size > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank, size, device)

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to the user."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up over ranks, in place; the same bits on every rank."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, value: int) -> int:
        """The largest of all ranks' values."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def same_everywhere(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all ranks hold bit-identical tensors."""
        if self.size == 1:
            return True
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        mine = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).to(self.device)
        low, high = mine.clone(), mine.clone()
        dist.all_reduce(low, op=dist.ReduceOp.MIN)
        dist.all_reduce(high, op=dist.ReduceOp.MAX)
        return bool((low == high).all())

    def finish(self) -> None:
        """End a successful job on all ranks together; with several ranks this does not return.

        Threads of the communication libraries may outlive the interpreter's shutdown, and the
        process then aborts ("terminate called without an active exception") although its work is
        done, even after ``destroy_process_group``. So the process ends here, without
        shutdown handlers: call this last, when all files are closed.
        """
        if self.size > 1:
            dist.barrier()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
