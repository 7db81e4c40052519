"""Peak memory of one side, measured in a process in which nothing else is."""

import gc
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.feed import Round
from ptune_scale.experiments.bench.sides import build


def peak_memory_mb(name: str, case: Case, rounds: Sequence[Round], threads: int) -> float:
    """Most memory that a side takes, in MB: on a GPU that of its tensors, else resident (Linux).

    All of it is counted but for what the libraries take: weights, copies made while loading them,
    prompt encoder, optimizer and activations.

    Raises:
        UserError: the checkpoint does not fit the side.
    """
    bare = replace(case)  # without the model that this process may have opened
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(_measure, name, bare, list(rounds), threads).result() / 1e6


def _measure(name: str, case: Case, rounds: Sequence[Round], threads: int) -> int:
    torch.set_num_threads(threads)
    gc.collect()
    before = _resident_bytes("VmRSS")
    side = build(name, case)
    side.start()
    for facts in rounds:
        side.run(facts)
    if case.device.type == "cuda":
        return torch.cuda.max_memory_allocated(case.device)
    return _resident_bytes("VmHWM") - before


def _resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
