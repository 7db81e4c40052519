"""The ranks of a job and the few collectives that the system uses."""

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.files import NotWritten, is_of_disk
from ptune_scale.parallel.launch import speaker
from ptune_scale.parallel.launch.relaunch import host_memory, local_rank, local_size
from ptune_scale.parallel.launch.store import own_store
from ptune_scale.prompt.bank import stable_seed

T = TypeVar("T")

# How long a rank waits for another. One that dies closes its connections, and the others see that
# at once; this limit is for a machine that vanishes without a word. It has to be longer than any
# rank keeps the others waiting: at startup on a slow disk, in a step on CPU cores, while it saves.
_PATIENCE = timedelta(minutes=30)


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

        Raises:
            UserError: there is no GPU for this rank, where others have one.
        """
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        gpu = local_rank()
        if torch.cuda.is_available():
            if gpu >= torch.cuda.device_count():
                raise UserError(
                    f"this machine has {gpu + 1} ranks or more, and a process sees "
                    f"{torch.cuda.device_count()} GPUs: give --num_gpus at most as many"
                )
            device = torch.device("cuda", gpu)
            torch.cuda.set_device(device)
        else:
            device = torch.device("cpu")
            # torchrun sets OMP_NUM_THREADS for every rank; for a single process only its user does.
            if size > 1 or "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_size()))
        if size > 1:
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                timeout=_PATIENCE,
                store=own_store(rank, size, _PATIENCE),
                rank=rank,
                world_size=size,
            )
        world = cls(rank, size, device)
        if size > 1:
            speaker.share(rank, world.gather)
        return world

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to the user."""
        return self.rank == 0

    def free_memory(self) -> int:
        """Bytes that nobody uses where this rank computes."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return self.free_host_memory()

    def free_host_memory(self) -> int:
        """Bytes of the host's memory that nobody uses, shared out between its ranks.

        No more than a container may have.
        """
        return min(psutil.virtual_memory().available, host_memory()) // local_size()

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up over ranks, in place; the same bits on every rank."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def max(self, value: int) -> int:
        """The largest of all ranks' values."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def gather(self, value: T) -> list[T]:
        """Small picklable values of all ranks, in the order of ranks; the same on every rank."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        dist.all_gather_object(values, value)
        return values

    def share(self, value: T) -> T:
        """The main rank's value on every rank; what others give does not matter."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def together(self, action: Callable[[], T]) -> list[T]:
        """Do something on all ranks; where it fails on one it fails on all, so that none waits.

        Returns:
            what each rank's action returned, which must be picklable and small.

        Raises:
            UserError: on every rank, if it was raised on any; of the same class.
            Exception: the rank's own, of another kind.
            RuntimeError: another rank's, of another kind.
        """
        result: T | None = None
        error: Exception | None = None
        try:
            result = action()
        except Exception as raised:
            error = raised
            if isinstance(raised, OSError) and is_of_disk(raised):
                error = NotWritten(str(raised))
        kind = type(error) if isinstance(error, UserError) else None
        failure = None if error is None else (kind, str(error))
        outcomes = self.gather((result, failure))
        failures = [(rank, *failed) for rank, (_, failed) in enumerate(outcomes) if failed]
        for _, kind, message in failures:
            if kind is not None:
                raise kind(message) from error
        if error is not None:
            raise error
        if failures:
            rank, _, message = failures[0]
            raise RuntimeError(f"rank {rank} failed: {message}")
        return [cast(T, result) for result, _ in outcomes]

    def on_main(self, action: Callable[[], object]) -> None:
        """Do something on the main rank alone; where it fails all ranks do, as in ``together``."""

        def only_there() -> None:
            if self.is_main:
                action()

        self.together(only_there)

    def seed_noise(self, *parts: object) -> None:
        """Seed dropout, and whatever else draws from PyTorch's own generators, from here on.

        Each rank draws its own, and the same in each run. Called before each training step with
        the step's number, it makes a resumed run draw what an uninterrupted one does.

        Args:
            parts: what the noise depends on.

        Example:
            >>> world.seed_noise(config.seed, "ptuning", step)
        """
        torch.manual_seed(stable_seed(*parts, self.rank))

    def finish(self) -> None:
        """End a successful job on all ranks together; with several ranks this does not return.

        Call this last, when all files are closed.
        """
        if self.size > 1:
            dist.barrier()
            leave(0)


def leave(status: int, error: Exception | None = None) -> None:
    """End this process if it is connected to others; else return.

    Threads of the communication libraries may outlive the interpreter's shutdown, and the process
    then aborts ("terminate called without an active exception"), whatever its status was to be,
    even after ``destroy_process_group``. So it ends here, without shutdown handlers.

    Args:
        error: what nobody has caught, printed as Python would.
    """
    if dist.is_initialized():
        if error is not None:
            traceback.print_exception(error)
        speaker.be_silent()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
