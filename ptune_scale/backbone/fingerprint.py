"""A cheap identity for a set of weights: it changes when the model does, whatever its size."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ptune_scale.backbone.megatron import part_files
from ptune_scale.errors import UserError
from ptune_scale.reading import has_file

_BLOCK = 64 * 1024
_NUM_BLOCKS = 32


def fingerprint_files(paths: Iterable[Path]) -> str:
    """SHA-256 over name, size and 32 evenly spaced blocks (64 KiB) of each file.

    Reads at most 2 MiB per file, so that an 11B model is identified in well under a second. Other
    weights of the same shapes differ in every block; a change of a few bytes in one place may go
    unseen: this guards against mix-ups, not against tampering.

    Raises:
        UserError: one of them is no file that can be read.
    """
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        if not has_file(path):
            raise UserError(f"{path} is missing, which is a part of the model")
        size = path.stat().st_size
        digest.update(f"{path.name}:{size};".encode())
        with path.open("rb") as stream:
            for index in range(_NUM_BLOCKS):
                stream.seek(max(0, size - _BLOCK) * index // (_NUM_BLOCKS - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def weight_files(path: Path) -> list[Path]:
    """The files whose bytes are the model: its weights and its configuration.

    Of fairseq Megatron shards the configuration is in the shards; what their token ids mean is in
    ``dict.txt``.
    """
    if path.is_file():
        return [path]
    if not (path / "config.json").is_file() and (parts := part_files(path)):
        return [path / "dict.txt", *parts]
    weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    return [path / "config.json", *weights]
