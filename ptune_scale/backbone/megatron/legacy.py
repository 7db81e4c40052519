"""Shards as ``torch.save`` wrote them before PyTorch 1.6, rewritten so that they can be mapped.

The published MegatronLM-11B is older than that format. In its files the tensors' bytes follow one
another without a table of contents, so a single tensor cannot be read without its shard.
"""

import shutil
from pathlib import Path

import torch
from tqdm import tqdm

from ptune_scale.backbone.megatron.parts import DICTIONARY, check_sequence, is_legacy, load_part


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
