"""The files of a fairseq checkpoint: found, checked for completeness, opened without running code.

Tensors stay in the file until they are used. Only tensors, containers and ``argparse.Namespace``
are allowed in a pickle, so that a checkpoint from the internet cannot run code.

The published MegatronLM-11B is older than PyTorch 1.6. In its files the tensors' bytes follow one
another without a table of contents, so that a single tensor cannot be read without its shard: such
shards are rewritten.
"""

import argparse
import re
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ptune_scale.errors import UserError
from ptune_scale.reading import has_file, one_line

DICTIONARY = "dict.txt"

_PART = re.compile(r"model-model_part-(\d+)\.pt")


def part_files(directory: Path) -> list[Path]:
    """The shards in a directory, in rank order; empty if it holds none."""
    found = {int(m[1]): p for p in directory.iterdir() if (m := _PART.fullmatch(p.name))}
    return [found[index] for index in sorted(found)]


def load_part(path: Path, *, mapped: bool = True) -> dict[str, Any]:
    """What a shard holds: "model" (its tensors), "args" and more.

    Damage to the tensors' own bytes goes unseen: they are not read here.

    Args:
        mapped: leave the tensors in the file until they are used.

    Raises:
        UserError: truncated or damaged, something else than a shard, or a pickle that names a
            class which is not allowed.
    """
    if not has_file(path) or not path.stat().st_size:
        raise UserError(f"shard {path} is empty")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise UserError(
            f"shard {path} is refused: its pickle names {refused[1]}, and only tensors and "
            "argparse.Namespace are allowed"
            if refused
            else f"shard {path} is damaged: its pickle cannot be read"
        ) from error
    except Exception as error:  # what a damaged pickle makes of its reader is anything
        reason = one_line(error).partition(". ")[0]
        raise UserError(f"shard {path} is truncated or damaged ({reason})") from error
    tensors = content.get("model") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(map(_is_weight, tensors.items())):
        raise UserError(f"shard {path} is not a fairseq checkpoint: it has no state dict 'model'")
    return content


def _is_weight(item: tuple[Any, Any]) -> bool:
    """Whether a name and a value are those of a tensor of numbers that can be put together."""
    name, value = item
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_complex()


def check_sequence(directory: Path) -> list[Path]:
    """The shards of a directory, all there.

    Raises:
        UserError: none, or a number is left out.
    """
    paths = part_files(directory) if directory.is_dir() else []
    if not paths:
        raise UserError(f"{directory} has no shard model-model_part-0.pt")
    for index, path in enumerate(paths):
        expected = directory / f"model-model_part-{index}.pt"
        if path != expected:
            raise UserError(f"shard {expected} is missing, although {path.name} is there")
    return paths


def is_legacy(path: Path) -> bool:
    """Whether a file is what ``torch.save`` wrote before PyTorch 1.6, which cannot be mapped."""
    if not has_file(path):
        raise UserError(f"shard {path} is missing")
    with path.open("rb") as stream:
        # A zip archive begins with PK, a bare pickle of protocol 2 and later with 0x80.
        return stream.read(1) == b"\x80"


def has_legacy_parts(directory: Path) -> bool:
    """Whether any shard of a directory must be rewritten."""
    return any(is_legacy(path) for path in check_sequence(directory))


def rewrite_parts(directory: Path, target: Path, progress: tqdm) -> None:
    """Write the shards of a directory anew into ``target``, one in memory at a time.

    Raises:
        UserError: a shard is missing or damaged.
    """
    for path in check_sequence(directory):
        content = load_part(path, mapped=not is_legacy(path))
        kept = {key: content[key] for key in ("args", "model") if key in content}
        torch.save(kept, target / path.name)
        progress.update()
    if (directory / DICTIONARY).is_file():
        shutil.copy(directory / DICTIONARY, target / DICTIONARY)
