"""How a job's frozen forward pass is computed: what is fastest here, found out by trying.

Nothing of it changes results by more than rounding, so that a run may go on in another way on
another machine. Attention and oneDNN's weight formats are timed on layers of the model's sizes and
rows of the job's; compiling is not, for it takes as long as it has to save. What was measured is
kept for the machine, the model and the libraries.
"""

import contextlib
import importlib.metadata
import itertools
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ptune_scale.backbone import Backbone, FrozenLM
from ptune_scale.backbone.options import Attention
from ptune_scale.backbone.shortcuts import DEFAULT, Shortcuts
from ptune_scale.backbone.small_copy import thin_copy
from ptune_scale.errors import UserError
from ptune_scale.parallel import Mesh
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.run.findings import finding
from ptune_scale.task.example import Example, collate

_ROUGH_OPERATIONS = 4e11
"""Of a CPU core in a second, before anything is measured."""

_WORTH_MEASURING_SECONDS = 10.0
_COMPILING_SECONDS = 10.0
_SAVED_BY_COMPILING = 0.15
"""Share of the time that compiled layers save; measured on two kinds of machine: 0.11 to 0.3."""

_LEAST_GAIN = 1.03
"""What is within the noise is left out."""

_RACE_SECONDS = 0.4
_LEAST_LAPS, _MOST_LAPS = 3, 20
_RACE_TOKENS = 320
_LARGEST_SAMPLE = 1 << 28
"""Parameters: making more of them takes longer than the race."""


@dataclass(frozen=True)
class Planned:
    """What a job will compute, roughly.

    Attributes:
        rows: some rows of a step, over all ranks, as they will be.
        num_slots: S of the prompt matrix.
        trained: tokens with a backward pass, over all ranks and steps.
        asked: tokens without one.
    """

    rows: Sequence[Example]
    num_slots: int
    trained: int
    asked: int

    @property
    def passes(self) -> float:
        """Tokens, where a backward pass is twice a forward pass."""
        return self.trained + self.asked / 3


@dataclass(frozen=True)
class _Way:
    attention: Attention = "eager"
    shortcuts: Shortcuts = DEFAULT
    said: str = ""


def choose_speed(backbone: Backbone, mesh: Mesh, plan: Callable[[], Planned]) -> None:
    """Let a backbone be computed in the fastest way; one that is loaded stays as it is.

    All ranks call it together; the main rank finds out, and says what is worth a wait.

    Args:
        plan: what will be computed.
    """
    if backbone.is_loaded:
        return
    world = mesh.world
    way = world.together(lambda: _find(backbone, mesh, plan()) if world.is_main else None)[0]
    assert way is not None
    if way.said and world.is_main:
        print(f"speed: {way.said}; --speed plain does without", file=sys.stderr, flush=True)
    backbone.compute_by(way.attention, way.shortcuts)


def _find(backbone: Backbone, mesh: Mesh, planned: Planned) -> _Way:
    model = backbone.empty_model()
    has_kernels = mesh.world.device.type == "cuda" and model._supports_sdpa
    default = _Way("sdpa" if has_kernels else "eager")
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    rough = 6 * num_parameters * planned.passes / _ROUGH_OPERATIONS
    plain_weights = backbone.weight_bits == "full" and not backbone.dropout
    if not planned.rows or rough < _WORTH_MEASURING_SECONDS or not plain_weights:
        return default
    rows = _lap_of(planned.rows[: math.ceil(len(planned.rows) / mesh.degrees.data)])
    found = finding(
        "speed",
        _circumstances(backbone, mesh, rows, planned),
        lambda: _measure(backbone, mesh, rows, planned),
    )
    if found is None:
        return default
    ranks = mesh.degrees.world_size
    seconds = found["token_seconds"] * planned.passes / ranks
    is_long = seconds * _SAVED_BY_COMPILING > _COMPILING_SECONDS
    compiles = is_long and found["is_prepared"] and can_compile(mesh.world.device)
    packs = is_long and found["packing_gain"] >= _LEAST_GAIN and _has_room(model)
    steps = [
        *(["layers are compiled in the first ten seconds or more"] if compiles else []),
        *(["weights are kept in oneDNN's formats too"] if packs else []),
    ]
    return _Way(
        found["attention"],
        replace(DEFAULT, compiled_layers=compiles, packed_weights=packs),
        f"{' and '.join(steps)}, for {seconds / 60:.0f} minutes of work" if steps else "",
    )


def _lap_of(rows: Sequence[Example]) -> Sequence[Example]:
    """As many of the rows as can be run in a race."""
    ends = itertools.accumulate(len(row.ids) for row in rows)
    return rows[: max(1, sum(end <= _RACE_TOKENS for end in ends))]


def can_compile(device: torch.device) -> bool:
    """Whether PyTorch's compiler finds what it needs for a device."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return has_triton()
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False


def _measure(
    backbone: Backbone, mesh: Mesh, rows: Sequence[Example], planned: Planned
) -> dict[str, Any] | None:
    """None where a sample of the model cannot be had, or is too large."""
    device, is_whole = mesh.world.device, mesh.degrees.is_whole

    def sample(attention: str, shortcuts: Shortcuts = DEFAULT) -> FrozenLM:
        lm = thin_copy(backbone, attention, shortcuts, _LARGEST_SAMPLE).to(device)
        return lm.prepare() if is_whole else lm

    try:
        plain = sample("eager")
    except UserError:
        return None
    ways = {"eager": plain}
    with contextlib.suppress(UserError):  # not each family has it
        ways["sdpa"] = sample("sdpa")
    laps = _Laps(rows, plain, planned, device)
    seconds = laps.race(ways)
    is_better = seconds["eager"] > _LEAST_GAIN * seconds.get("sdpa", math.inf)
    attention = "sdpa" if is_better else "eager"
    gain = 1.0
    if is_whole:
        packed = sample(attention, replace(DEFAULT, packed_weights=True))
        if packed.prepared is not None and packed.prepared.has_packed_weights:
            both = laps.race({"plain": ways[attention], "packed": packed})
            gain = both["plain"] / both["packed"]
    layers = backbone.config.num_hidden_layers / plain.model.config.num_hidden_layers
    return {
        "attention": attention,
        "packing_gain": gain,
        "is_prepared": plain.prepared is not None,
        "token_seconds": seconds[attention] * layers / sum(len(row.ids) for row in rows),
    }


class _Laps:
    """Models that compute the same rows in turn: a forward and, with slots, a backward pass."""

    def __init__(
        self, rows: Sequence[Example], like: FrozenLM, planned: Planned, device: torch.device
    ) -> None:
        size = like.model.config.vocab_size
        rows = [replace(row, ids=tuple(token % size for token in row.ids)) for row in rows]
        self._batch = collate(rows).to(device)
        tasks = 1 + max(row.task for row in rows)
        width = like.model.get_input_embeddings().weight.shape[1]
        self._prompts = torch.zeros(tasks, planned.num_slots, width, device=device)
        self._trains = planned.trained > 0
        self._device = device

    def race(self, models: Mapping[str, FrozenLM]) -> dict[str, float]:
        """Least seconds of each, of all threads divided by their number."""
        for model in models.values():
            self._lap(model)
        best = dict.fromkeys(models, math.inf)
        started, laps = time.perf_counter(), 0
        while laps < _LEAST_LAPS or (
            laps < _MOST_LAPS and time.perf_counter() - started < _RACE_SECONDS
        ):
            for name, model in models.items():
                best[name] = min(best[name], self._lap(model))
            laps += 1
        return best

    def _lap(self, model: FrozenLM) -> float:
        started = self._read_clock()
        prompts = self._prompts.to(model.model.dtype).requires_grad_(self._trains)
        with torch.set_grad_enabled(self._trains):
            total: Tensor = model(self._batch, prompts).sum()
            if self._trains:
                total.backward()
        return self._read_clock() - started

    def _read_clock(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        # What else runs on the machine counts little in this.
        return time.process_time() / torch.get_num_threads()


def _circumstances(
    backbone: Backbone, mesh: Mesh, rows: Sequence[Example], planned: Planned
) -> list[Any]:
    """What the outcome depends on; numbers of rows and tokens to within a factor of two."""
    device = mesh.world.device
    is_cuda = device.type == "cuda"
    mean = sum(len(row.ids) for row in rows) / len(rows)
    return [
        torch.cuda.get_device_name(device) if is_cuda else _processor(),
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
        backbone.fingerprint,
        str(backbone.dtype),
        mesh.degrees.is_whole,
        [round(math.log2(number)) for number in (len(rows), mean)],
        [planned.trained > 0, planned.num_slots],
        *(importlib.metadata.version(name) for name in ("torch", "transformers")),
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.machine())


def _has_room(model: PreTrainedModel) -> bool:
    """Whether two more copies of the weights, and one in reserve, fit into a rank's memory."""
    size = sum(parameter.nbytes for parameter in model.parameters())
    return 4 * size < launch.host_memory() // launch.local_size()
