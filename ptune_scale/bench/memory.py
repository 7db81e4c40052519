"""Resident memory of this process: now, and at most since a moment (Linux)."""

import ctypes
import gc
from pathlib import Path

import torch
from torch import nn

from ptune_scale.errors import UserError


def resident_bytes(field: str = "VmRSS") -> int:
    """Resident memory now, or with "VmHWM" the most since the last reset.

    Raises:
        UserError: the kernel does not say.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise UserError(f"peak memory needs Linux: /proc/self/status has no {field}")


def reset_peak() -> None:
    """Forget the peak so far.

    Raises:
        UserError: the kernel does not allow it.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise UserError(f"peak memory: /proc/self/clear_refs: {error.strerror}") from error


def give_back() -> None:
    """Hand memory that is free in the allocator back to the kernel, where the allocator can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def touch(model: nn.Module) -> None:
    """Read all weights: those mapped from a file are resident only then."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.detach().sum()


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights, shared ones once."""
    return sum(parameter.nbytes for parameter in model.parameters())
