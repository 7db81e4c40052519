"""What a measurement ran on."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

_SIZE = 1024
_SECONDS = 0.5


def machine(threads: int) -> dict[str, Any]:
    """The processor, what matrix units it has, and how fast bare products of bf16 are on it."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = info.splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "has_amx": "amx_bf16" in flags,
        "bf16_products_gflops": round(_rate(threads)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _rate(threads: int) -> float:
    """10^9 operations of a CPU second and thread, in the best of several products."""
    one = torch.ones(_SIZE, _SIZE, dtype=torch.bfloat16)
    best, ends = 0.0, time.perf_counter() + _SECONDS
    while best == 0.0 or time.perf_counter() < ends:
        started = time.process_time()
        one @ one
        seconds = time.process_time() - started
        best = max(best, 2 * _SIZE**3 / max(seconds, 1e-9) / 1e9)
    return best
