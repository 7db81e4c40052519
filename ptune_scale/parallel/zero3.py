"""A frozen backbone sharded by DeepSpeed ZeRO-3: each replica keeps 1/N of every weight.

The backbone gets a DeepSpeed engine without optimizer and is called through ``engine.module``;
the prompt encoder stays outside, whole on every rank.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.weights import WeightSource
from ptune_scale.errors import UserError
from ptune_scale.parallel.engine import WholeEngine
from ptune_scale.parallel.launch.start import silence_deepspeed, start_deepspeed
from ptune_scale.parallel.mesh import DATA, PIPELINE, TENSOR, Mesh
from ptune_scale.parallel.slices import Names, Slices, fill_buffers, pending
from ptune_scale.reading import check_kind, one_line, read_object, shown

# In a checkout ds_configs/ lies beside the package; setup.py installs it inside.
_INSTALLED = Path(__file__).resolve().parents[1] / "ds_configs"
_CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "ds_configs"
DEFAULT_CONFIG = _CONFIGS / "zero3.json"


def read_config(path: Path, dtype: torch.dtype) -> dict[str, Any]:
    """A DeepSpeed configuration for a frozen backbone, checked and completed.

    Raises:
        UserError: missing file, bad JSON, not ZeRO stage 3, an optimizer (nothing in the backbone
            trains), a precision that contradicts ``dtype``, or what DeepSpeed refuses.
    """
    config = read_object(path, "DeepSpeed config")
    config.pop("purpose", None)  # ours, for the reader of the file
    for key in ("zero_optimization", "bf16"):
        check_kind(config.get(key, {}), dict, f"DeepSpeed config {path}: {key}")
    stage = config.get("zero_optimization", {}).get("stage")
    if stage != 3:
        raise UserError(
            f"DeepSpeed config {path}: zero_optimization.stage is {shown(stage)}, must be 3"
        )
    for key in ("optimizer", "scheduler"):
        if key in config:
            raise UserError(f"DeepSpeed config {path}: remove {key!r}: the backbone is frozen")
    wants_bf16 = dtype == torch.bfloat16
    if config.get("bf16", {}).get("enabled", wants_bf16) != wants_bf16 or "fp16" in config:
        here, there = str(dtype).removeprefix("torch."), "float32" if wants_bf16 else "bfloat16"
        advice = "" if "fp16" in config else f", or say --dtype {there}"
        raise UserError(
            f"DeepSpeed config {path}: its precision is not the run's, {here}; remove it there"
            f"{advice}"
        )
    config["bf16"] = {"enabled": wants_bf16}
    # DeepSpeed insists on a batch size; ours is global and lives on the other side of the waist.
    config.setdefault("train_micro_batch_size_per_gpu", 1)
    _check_values(config, path)
    return config


def _check_values(config: dict[str, Any], path: Path) -> None:
    """Let DeepSpeed read it, which else would happen when the ranks have started.

    Raises:
        UserError: a name or a value is none that it knows.
    """
    silence_deepspeed(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    from deepspeed.runtime.config import DeepSpeedConfig

    # Sizes of batches have to go with the number of ranks, and this process is none of them.
    values = {key: value for key, value in config.items() if "batch" not in key}
    try:
        DeepSpeedConfig(copy.deepcopy(values) | {"train_micro_batch_size_per_gpu": 1})
    except Exception as error:  # pydantic's, and whatever its own code meets
        raise UserError(f"DeepSpeed config {path}: refused: {one_line(error)}") from error


class Parallel:
    """The ranks as DeepSpeed asks for them (the interface that it calls ``mpu``)."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def get_data_parallel_group(self) -> dist.ProcessGroup:
        return self._mesh.group(DATA)

    def get_data_parallel_rank(self) -> int:
        return self._mesh.data_rank

    def get_data_parallel_world_size(self) -> int:
        return self._mesh.degrees.data

    def get_model_parallel_group(self) -> dist.ProcessGroup:
        return self._mesh.group(TENSOR)

    def get_model_parallel_rank(self) -> int:
        return self._mesh.tensor_rank

    def get_model_parallel_world_size(self) -> int:
        return self._mesh.degrees.tensor

    def get_pipeline_parallel_group(self) -> dist.ProcessGroup:
        return self._mesh.group(PIPELINE)


def shard(
    lm: FrozenLM,
    mesh: Mesh,
    config: dict[str, Any],
    *,
    names: Names | None = None,
    slices: Slices | None = None,
    weights: WeightSource | None = None,
) -> WholeEngine:
    """Give a frozen model an engine that keeps its weights partitioned.

    Args and errors: see ``partition``.
    """
    # Each pass through the layers is a collective: how many there are cannot be left to the rows
    # that a rank happens to have.
    lm.shortcuts = replace(lm.shortcuts, skip_lead=False)
    mpu = partition(lm, mesh, config, names=names, slices=slices, weights=weights)
    import deepspeed

    engine, *_ = deepspeed.initialize(model=lm, config=config, mpu=mpu)
    # The input embedding sees ids, which carry no gradient, so no backward hook frees it.
    release = engine.optimizer.release_backward_leftovers
    return WholeEngine(engine.module, release, agree=mesh.world.max)


def partition(
    lm: FrozenLM,
    mesh: Mesh,
    config: dict[str, Any],
    *,
    names: Names | None = None,
    slices: Slices | None = None,
    weights: WeightSource | None = None,
) -> Parallel | None:
    """Partition a model's weights over the data-parallel ranks, in place.

    With ``weights`` the model is empty, and each rank reads its own part of each weight. Without,
    every rank holds the same loaded model, and lets go of all but its part.

    Args:
        config: from ``read_config``.

    Returns:
        the ranks as the engine has to be told of them.

    Raises:
        CannotSlice: ``weights`` do not have a parameter or buffer under its name.
        UserError: one of them has another shape there.
    """
    start_deepspeed(mesh.world)
    import deepspeed

    everyone = mesh.degrees.data == mesh.world.size
    mpu = None if everyone else Parallel(mesh)
    if weights is None or names is None:
        for buffer in lm.buffers():
            buffer.data = buffer.data.to(mesh.world.device)
        deepspeed.zero.Init(module=lm, config_dict_or_path=config, mpu=mpu)
    else:
        fill_buffers(lm.model, names, weights, mesh.world.device)
        _partition_from(lm, mesh, config, mpu, names, slices or {}, weights)
    return mpu


def _partition_from(
    lm: FrozenLM,
    mesh: Mesh,
    config: dict[str, Any],
    mpu: Parallel | None,
    names: Names,
    slices: Slices,
    weights: WeightSource,
) -> None:
    """Give each parameter its partition, reading no more than the rows that hold its elements.

    ``zero.Init`` would broadcast whole weights from the first rank, which then has to read them
    all. Its two steps per parameter are taken one by one instead. Of a parameter that tensor
    parallelism has cut, the rank's whole cut is read, and the partition taken from it.

    Memory for one whole (or cut) parameter at a time is asked for. On a CPU only the pages of the
    rank's own elements are ever touched; on a GPU it is all in use until it is partitioned.
    """
    import deepspeed

    group = None if mpu is None else mesh.group(DATA)
    with torch.device("meta"):
        nothing = torch.nn.Module()
    init = deepspeed.zero.Init(
        module=nothing, data_parallel_group=group, config_dict_or_path=config, mpu=mpu
    )
    rank, size = mesh.data_rank, mesh.degrees.data
    for parameter, name, part in list(pending(lm.model, names, slices, weights)):
        count = parameter.numel()
        share = -(-count // size)
        start, stop = min(rank * share, count), min((rank + 1) * share, count)
        whole = torch.empty(parameter.shape, dtype=parameter.dtype, device=mesh.world.device)
        if part.ranges or part.transposed:
            mine = part.read(weights, name).reshape(-1)[start:stop]
        else:
            mine = weights.read_flat(name, start, stop)
        whole.view(-1)[start:stop].copy_(mine)
        # A meta tensor cannot be given memory; the parameter object has to stay the same, since
        # modules share it.
        whole = torch.nn.Parameter(whole, requires_grad=parameter.requires_grad)
        torch.utils.swap_tensors(parameter, whole)
        init._convert_to_deepspeed_param(parameter)
        converted: Any = parameter  # DeepSpeed has given it methods
        converted.partition()
