"""GGUF files: checked, and converted once to safetensors that every rank can map into memory.

De-quantizing takes seconds and the whole model's memory in each process; a safetensors copy is
mapped and read slice by slice. Copies are kept per dtype in a cache directory
(``$PTUNE_SCALE_CACHE``, by default ``~/.cache/ptune_scale``).
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from ptune_scale.errors import UserError
from ptune_scale.files import sha256_of, write_directory

_FORMAT = 2
"""Of the copies: another number has all of them made anew."""

_DIGESTS = "sha256.json"


def _check(path: Path) -> None:
    """Make sure a file is GGUF and complete, reading its header only: that takes seconds.

    Raises:
        UserError: not GGUF, truncated, or the ``gguf`` package is missing.
    """
    reader = _open(path)
    size = path.stat().st_size
    needed = max((int(t.data_offset + t.n_bytes) for t in reader.tensors), default=0)
    if not reader.tensors or needed > size:
        raise UserError(f"GGUF file {path} is truncated: {size} bytes, its tensors need {needed}")


def _open(path: Path) -> Any:
    """A reader of the optional package."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise UserError("reading GGUF needs the gguf package: pip install gguf") from None
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UserError(f"{path} is not a GGUF file (it does not begin with 'GGUF')")
    try:
        return GGUFReader(path)
    except Exception as error:  # the reader fails in many ways on a cut file
        raise UserError(f"GGUF file {path} is truncated or damaged ({error})") from error


def converted_directory(path: Path, dtype: torch.dtype) -> Path:
    """A directory with the model of a GGUF file as safetensors in ``dtype``, made if needed.

    Safe to call from several processes at once: one converts, the others wait. The directory
    appears whole or not at all. A file that has been converted is not looked into again; a copy
    that is not what was written is made anew.

    Raises:
        UserError: not GGUF, truncated, or the ``gguf`` package is missing.
    """
    stat = path.stat()
    identity = f"{path.resolve()}/{stat.st_size}/{stat.st_mtime_ns}/{_FORMAT}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    root = cache_root()
    target = root / f"{path.stem}-{key}-{str(dtype).removeprefix('torch.')}"
    if _is_intact(target):
        return target
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not _is_intact(target):
            shutil.rmtree(target, ignore_errors=True)
            _check(path)
            write_directory(target, lambda scratch: _convert(path, dtype, scratch))
    return target


def _is_intact(copy: Path) -> bool:
    """Whether a copy holds what was written into it, tokenizer and configuration too."""
    try:
        digests = json.loads((copy / _DIGESTS).read_text(encoding="utf-8"))
        return "config.json" in digests and all(
            sha256_of(copy / name) == digest for name, digest in digests.items()
        )
    except (OSError, ValueError, AttributeError):
        return False


def cache_root() -> Path:
    """Where converted models are kept."""
    default = Path.home() / ".cache" / "ptune_scale"
    return Path(os.environ.get("PTUNE_SCALE_CACHE") or default)


def _convert(path: Path, dtype: torch.dtype, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # transformers marks a model read from GGUF as quantized and then refuses to save it,
    # although its weights are plain fp32 by now.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(dtype).save_pretrained(target)
    AutoTokenizer.from_pretrained(**where).save_pretrained(target)
    digests = {file.name: sha256_of(file) for file in sorted(target.iterdir())}
    (target / _DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
