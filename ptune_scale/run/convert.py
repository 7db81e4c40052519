"""The command ``convert``: what a directory holds decides the direction."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.parser import Parser
from ptune_scale.run.alone import run_alone

_DTYPES = ("float16", "bfloat16", "float32")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("convert", lambda: _convert(arguments))


def _convert(arguments: Sequence[str] | None) -> int:
    typed = _build_parser().parse_args(arguments)
    if not os.path.isdir(typed.source):
        raise UserError(f"--from {typed.source}: no such directory")
    size = _parse_size(typed.max_shard_size)

    import torch

    from ptune_scale.backbone.megatron.convert import to_safetensors, to_shards
    from ptune_scale.backbone.megatron.parts import part_files

    dtype = getattr(torch, typed.dtype) if typed.dtype else None
    if part_files(typed.source):
        to_safetensors(typed.source, typed.target, max_shard_bytes=size, dtype=dtype)
    else:
        to_shards(typed.source, typed.target, num_shards=typed.num_shards, dtype=dtype)
    print(f"converted model in {typed.target}/")
    return 0


def _build_parser() -> Parser:
    parser = Parser("convert", "Convert a fairseq Megatron checkpoint to safetensors, or back.")
    add = parser.add_argument
    add("--from", dest="source", type=Path, required=True, metavar="DIR", help="what to convert")
    add("--to", dest="target", type=Path, required=True, metavar="DIR", help="a new directory")
    add("--num_shards", type=int, default=8, help="fairseq shards to write (default: 8)")
    add("--max_shard_size", default="5GB", help="size of a safetensors file (default: 5GB)")
    add("--dtype", choices=_DTYPES, default=None, help="of what is written (default: as stored)")
    return parser


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size < 1:
        raise UserError(f"--max_shard_size {text!r}: write a number with KB, MB or GB, as in 5GB")
    return size
