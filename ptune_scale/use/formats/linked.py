"""A checkpoint that differs from another in a few tensors: only their files are written anew.

The others are links to the files that are there, or copies where the file system has no links
between the two places.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ptune_scale.files import write_json
from ptune_scale.reading import has_file, read_object

_INDEX = "model.safetensors.index.json"

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def write_shards(
    source: Path, directory: Path, parameters: Mapping[str, Tensor], touched: Collection[str]
) -> bool:
    """Write the shards of a checkpoint with some tensors changed, and their index.

    Args:
        source: a directory of safetensors shards.
        parameters: all of the model's, by their names.
        touched: names of those that have other values; what has another shape is found.

    Returns:
        False, and nothing is written, where the source is no such directory, or holds numbers of
        another dtype, or calls its tensors differently.
    """
    if not has_file(source / _INDEX):
        return False
    index = read_object(source / _INDEX, "model index")
    places: dict[str, str] = index.get("weight_map", {})
    if places.keys() != parameters.keys():
        return False
    changed = {name: parameters[name] for name in touched}
    for file in set(places.values()):
        with safe_open(source / file, "pt") as shard:
            for name in shard.keys():  # noqa: SIM118
                old = shard.get_slice(name)
                if old.get_dtype() != _DTYPES.get(parameters[name].dtype):
                    return False
                if old.get_shape() != list(parameters[name].shape):
                    changed[name] = parameters[name]
    metadata: dict[str, Any] = {**index.get("metadata", {})}
    rewritten = {places[name] for name in changed}
    for file in sorted(set(places.values())):
        if file in rewritten:
            grown = _write_shard(source / file, directory / file, changed)
            if "total_size" in metadata:
                metadata["total_size"] += grown
        else:
            _link(source / file, directory / file)
    write_json(directory / _INDEX, {**index, "metadata": metadata})
    return True


def _write_shard(old: Path, new: Path, changed: Mapping[str, Tensor]) -> int:
    """Write a shard with what changed in it; returns by how many bytes it grew."""
    tensors = {}
    grown = 0
    with safe_open(old, "pt") as shard:
        for name in shard.keys():  # noqa: SIM118
            tensor = shard.get_tensor(name)
            if name in changed:
                grown += changed[name].nbytes - tensor.nbytes
                tensor = changed[name].contiguous()
            tensors[name] = tensor
        metadata = shard.metadata() or {"format": "pt"}
    save_file(tensors, new, metadata)
    return grown


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old.resolve(), new)
    except OSError:
        shutil.copyfile(old, new)
