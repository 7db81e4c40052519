"""Peak memory of one side, measured in a process in which nothing else is.

From the peak during steps is subtracted what was resident once the model was loaded and each of its
weights was read; prompt encoder, optimizer and activations come after that. Copies of weights made
while loading come before, so what was resident by then beyond the weights' own bytes is reported
beside it.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import torch
import transformers

from ptune_scale.bench import memory
from ptune_scale.bench.case import Case
from ptune_scale.bench.feed import Round
from ptune_scale.bench.sides import build

_MB = 10**6


def measure(name: str, case: Case, rounds: Sequence[Round], threads: int) -> dict[str, float]:
    """Run a side in a process of its own.

    Returns:
        in MB: "beyond_weights" at the peak, "weights", "loaded_beside_weights".

    Raises:
        UserError: facts, template or checkpoint do not fit the side.
    """
    bare = Case(case.flags, case.facts, case.device)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        sizes = process.submit(_measure, name, bare, list(rounds), threads).result()
    return {key: value / _MB for key, value in sizes.items()}


def _measure(name: str, case: Case, rounds: Sequence[Round], threads: int) -> dict[str, int]:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    on_gpu = case.device.type == "cuda"
    before = _in_use(on_gpu)
    side = build(name, case)
    weights = memory.weight_bytes(side.backbone)
    memory.touch(side.backbone)
    loaded = _in_use(on_gpu)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(case.device)
    else:
        memory.reset_peak()
    side.start()
    for facts in rounds:
        side.run(facts)
    peak = torch.cuda.max_memory_allocated() if on_gpu else memory.resident_bytes("VmHWM")
    return {
        "beyond_weights": peak - loaded,
        "weights": weights,
        "loaded_beside_weights": loaded - before - weights,
    }


def _in_use(on_gpu: bool) -> int:
    memory.give_back()
    return torch.cuda.memory_allocated() if on_gpu else memory.resident_bytes()
