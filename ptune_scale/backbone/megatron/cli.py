"""The command line of ``launchers/convert.py``: what a directory holds decides the direction."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from ptune_scale.backbone.megatron.convert import to_safetensors, to_shards
from ptune_scale.backbone.megatron.parts import part_files
from ptune_scale.errors import UserError

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of ``launchers/convert.py``; returns the exit status."""
    try:
        typed = _build_parser().parse_args(arguments)
        source, dtype = typed.source, _DTYPES.get(typed.dtype)
        if not source.is_dir():
            raise UserError(f"--from {source}: no such directory")
        if part_files(source):
            size = _parse_size(typed.max_shard_size)
            to_safetensors(source, typed.target, max_shard_bytes=size, dtype=dtype)
        else:
            to_shards(source, typed.target, num_shards=typed.num_shards, dtype=dtype)
    except UserError as error:
        print(f"convert.py: error: {error}", file=sys.stderr)
        return 2
    print(f"converted model in {typed.target}/")
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help lists all flags)")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "convert.py",
        description="Convert a fairseq Megatron checkpoint to safetensors, or back.",
    )
    add = parser.add_argument
    add("--from", dest="source", type=Path, required=True, metavar="DIR", help="what to convert")
    add("--to", dest="target", type=Path, required=True, metavar="DIR", help="a new directory")
    add("--num_shards", type=int, default=8, help="fairseq shards to write (default: 8)")
    add("--max_shard_size", default="5GB", help="size of a safetensors file (default: 5GB)")
    add("--dtype", choices=list(_DTYPES), help="of the written weights (default: as stored)")
    return parser


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size < 1:
        raise UserError(f"--max_shard_size {text!r}: write a number with KB, MB or GB, as in 5GB")
    return size
