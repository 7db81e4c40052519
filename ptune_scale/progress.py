"""What a person sees while a job runs: bars on a terminal, scalars in TensorBoard."""

import resource
import sys
from pathlib import Path

import torch
from tqdm import tqdm


def bar(description: str, total: int, unit: str, *, shown: bool, initial: int = 0) -> tqdm:
    """A progress bar with rate and time left, on standard error if that is a terminal."""
    return tqdm(
        desc=description,
        total=total,
        initial=initial,
        unit=f" {unit}",
        disable=None if shown else True,
        dynamic_ncols=True,
        smoothing=0.05,
    )


def peak_memory_mb() -> float:
    """Peak memory of this process in MiB: of its GPU where it has one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class Scalars:
    """TensorBoard scalars; does nothing without a directory.

    Args:
        purge_step: when resuming, steps from here on are written again and replace the old ones.
    """

    def __init__(self, directory: Path | None, purge_step: int) -> None:
        self._writer = None
        if directory is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(directory), purge_step=purge_step)

    def add(self, values: dict[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
