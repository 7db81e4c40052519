"""The file of an exported prompt: vectors, and what they are for."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ptune_scale.errors import UserError

_FILE = "prompt.safetensors"


def write_prompts(directory: Path, prompts: Tensor, format: str, about: Mapping[str, str]) -> Path:
    """Write ``prompt.safetensors``; it replaces an older one in a single step.

    Args:
        prompts: (R, S, H), written in fp32.
        format: name of what ``about`` holds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target, scratch = directory / _FILE, directory / f".{_FILE}.partial"
    save_file({"prompts": prompts.contiguous().float()}, scratch, {"format": format, **about})
    os.replace(scratch, target)
    return target


def read_prompts(directory: Path, formats: Collection[str]) -> tuple[Tensor, dict[str, str]]:
    """Read what ``write_prompts`` wrote, from its directory or the file itself.

    Args:
        formats: that the reader knows, the newest first.

    Returns:
        prompts (R, S, H) in fp32, and what stands beside them, ``format`` among it.

    Raises:
        UserError: no file, a damaged one, or one of another format.
    """
    path = directory / _FILE if directory.is_dir() else directory
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            prompts = file.get_tensor("prompts")
    except (OSError, SafetensorError) as error:
        raise UserError(f"prompt {path} cannot be read: {error}") from error
    if about.get("format") not in formats:
        wanted = next(iter(formats))
        raise UserError(f"prompt {path} has format {about.get('format')}, want {wanted}")
    return prompts, about
