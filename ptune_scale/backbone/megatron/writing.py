"""Weight files written one tensor at a time, so that no more than one is ever in memory."""

import argparse
import json
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ptune_scale.backbone.megatron.config import MegatronConfig
from ptune_scale.backbone.megatron.tensors import fairseq_args, fairseq_name, part_shape

Read = Callable[[str], Tensor]

_DTYPE_NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}


@dataclass(frozen=True)
class Spec:
    """A tensor to be written: its whole shape and the dtype it gets."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


Specs = dict[str, Spec]


def plan_files(specs: Specs, max_bytes: int) -> list[list[str]]:
    """Which tensors share a file: in their order, as many as ``max_bytes`` hold, at least one."""
    files: list[list[str]] = [[]]
    used = 0
    for name, spec in specs.items():
        if files[-1] and used + spec.num_bytes > max_bytes:
            files.append([])
            used = 0
        files[-1].append(name)
        used += spec.num_bytes
    return files


def write_safetensors(path: Path, specs: Specs, read: Read) -> None:
    """Write one safetensors file: the length of its header, the header as JSON, the tensors' bytes.

    Args:
        specs: the tensors of this file.
        read: gives a whole tensor by name.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, spec in specs.items():
        end = offset + spec.num_bytes
        header[name] = {
            "dtype": _DTYPE_NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    # Padded with spaces so that the tensors are aligned where the file is mapped.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name, spec in specs.items():
            tensor = read(name).to(spec.dtype).contiguous()
            stream.write(tensor.view(torch.uint8).numpy().data)


def write_part(
    path: Path, config: MegatronConfig, specs: Specs, num_parts: int, read: Read
) -> None:
    """Write one fairseq shard.

    The file is first written without the tensors' bytes, then mapped and filled in.

    Args:
        specs: all tensors of the model.
        read: gives this part's slice of a tensor by name.
    """
    with FakeTensorMode():
        model = {
            fairseq_name(name): torch.empty(
                part_shape(name, spec.shape, num_parts), dtype=spec.dtype
            )
            for name, spec in specs.items()
        }
        model["decoder.embed_positions._float_tensor"] = torch.empty(1, dtype=torch.float16)
        model["decoder.version"] = torch.empty(1, dtype=torch.float32)
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save({"args": fairseq_args(config, num_parts), "model": model}, path)
    filled = _map_writable(path)
    for name in specs:
        filled[fairseq_name(name)].copy_(read(name))
    filled["decoder.embed_positions._float_tensor"].zero_()
    # From version 3 on, fairseq's decoder has a norm behind its last layer.
    filled["decoder.version"].fill_(3)


def _map_writable(path: Path) -> dict[str, Tensor]:
    with (
        torch.serialization.set_default_mmap_options(mmap.MAP_SHARED),
        torch.serialization.safe_globals([argparse.Namespace]),
    ):
        return torch.load(path, mmap=True, weights_only=True)["model"]
