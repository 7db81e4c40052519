"""fairseq's shards to a directory of safetensors and back, one tensor in memory at a time."""

import json
import os
import shutil
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError

from ptune_scale.backbone.megatron.config import MegatronConfig
from ptune_scale.backbone.megatron.parts import (
    DICTIONARY,
    has_legacy_parts,
    part_files,
    rewrite_parts,
)
from ptune_scale.backbone.megatron.shards import MegatronShardSource
from ptune_scale.backbone.megatron.tensors import split_dim, tensor_shapes
from ptune_scale.backbone.megatron.tokenizer import (
    NUM_SPECIALS,
    bpe_files,
    build_tokenizer,
    read_dictionary,
)
from ptune_scale.backbone.megatron.writing import (
    Spec,
    Specs,
    plan_files,
    write_part,
    write_safetensors,
)
from ptune_scale.backbone.weights import SafetensorsSource, WeightSource
from ptune_scale.errors import UserError
from ptune_scale.files import write_directory
from ptune_scale.progress import bar
from ptune_scale.reading import has_file, one_line, read_object, shown

# fairseq's own names, whatever the copies are called: Hugging Face would take a vocab.json for
# the tokenizer's ids, which these are not.
_BPE_NAMES = ("encoder.json", "vocab.bpe")


def to_safetensors(
    source: Path,
    target: Path,
    *,
    max_shard_bytes: int = 5 * 10**9,
    dtype: torch.dtype | None = None,
    shown: bool = True,
) -> None:
    """Write a Hugging Face model directory from fairseq's shards.

    It also receives ``dict.txt`` and GPT-2's files, so that it can be converted back. The target
    appears whole or not at all. Shards of the oldest file format are first rewritten beside it.

    Args:
        max_shard_bytes: size of a safetensors file, unless a single tensor is larger.
        dtype: of the written weights; None for the stored one.
        shown: draw a progress bar.

    Raises:
        UserError: a file is missing, damaged or of another model, or the target is in use.
    """
    tokenizer = build_tokenizer(source)

    def write(scratch: Path) -> None:
        parts = source
        if has_legacy_parts(source):
            parts = scratch / "parts"
            parts.mkdir()
            with bar("rewrite", len(part_files(source)), "shards", shown=shown) as progress:
                rewrite_parts(source, parts, progress)
        weights = MegatronShardSource(parts)
        specs = _specs(weights, weights.config, dtype)
        files = plan_files(specs, max_shard_bytes)
        weight_map: dict[str, str] = {}
        with bar("convert", len(specs), "tensors", shown=shown) as progress:

            def read(name: str) -> torch.Tensor:
                progress.update()
                return weights.read(name)

            for number, names in enumerate(files, start=1):
                file = f"model-{number:05d}-of-{len(files):05d}.safetensors"
                write_safetensors(scratch / file, {n: specs[n] for n in names}, read)
                weight_map |= dict.fromkeys(names, file)
        size = sum(spec.num_bytes for spec in specs.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (scratch / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
        weights.config.dtype = dtype or weights.dtype
        weights.config.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        _copy_vocabulary(source, scratch)
        if parts != source:
            shutil.rmtree(parts)

    _check_unused(target)
    write_directory(target, write)


def to_shards(
    source: Path,
    target: Path,
    *,
    num_shards: int = 8,
    dtype: torch.dtype | None = None,
    shown: bool = True,
) -> None:
    """Write fairseq's shards from a Hugging Face directory of this model type.

    Args:
        num_shards: how many ranks fairseq would run the model on.
        dtype: of the written weights; None for the stored one.
        shown: draw a progress bar.

    Raises:
        UserError: another type of model, no ``dict.txt``, a damaged file, a number of shards that
            does not divide the model, or the target is in use.
    """
    config = _read_config(source)
    for what in ("num_attention_heads", "vocab_size", "intermediate_size"):
        if num_shards < 1 or getattr(config, what) % num_shards:
            raise UserError(
                f"--num_shards {num_shards} does not divide {getattr(config, what)} ({what})"
            )
    lines, expected = len(read_dictionary(source / DICTIONARY)), config.vocab_size - NUM_SPECIALS
    if lines != expected:
        raise UserError(f"{source / DICTIONARY} has {lines} lines, expected {expected}")
    bpe_files(source)
    weights = SafetensorsSource(source)
    for name, shape in tensor_shapes(config).items():
        if name not in weights.names() or weights.shape(name) != shape:
            raise UserError(f"model directory {source}: no tensor {name!r} of shape {list(shape)}")
    specs = _specs(weights, config, dtype)

    def write(scratch: Path) -> None:
        with bar("convert", num_shards * len(specs), "slices", shown=shown) as progress:
            for part in range(num_shards):

                def read(name: str, part: int = part) -> torch.Tensor:
                    progress.update()
                    dim = split_dim(name)
                    if dim is None:
                        return weights.read(name)
                    length = specs[name].shape[dim] // num_shards
                    return weights.read(name, dim, part * length, (part + 1) * length)

                file = scratch / f"model-model_part-{part}.pt"
                write_part(file, config, specs, num_shards, read)
        _copy_vocabulary(source, scratch)

    _check_unused(target)
    write_directory(target, write)


def _specs(weights: WeightSource, config: MegatronConfig, dtype: torch.dtype | None) -> Specs:
    return {
        name: Spec(shape, dtype or weights.read(name, 0, 0, 1).dtype)
        for name, shape in tensor_shapes(config).items()
    }


def _read_config(directory: Path) -> MegatronConfig:
    path = directory / "config.json"
    if not has_file(path):
        raise UserError(f"{directory} holds neither fairseq shards nor a model directory")
    values = read_object(path, "configuration")
    found = values.get("model_type")
    if found == MegatronConfig.model_type:
        try:
            return MegatronConfig.from_dict(values)
        except (ValueError, TypeError, ArithmeticError, StrictDataclassError) as error:
            raise UserError(f"{path}: {one_line(error)}") from error
    raise UserError(f"{path}: model type {shown(found)}, expected {MegatronConfig.model_type!r}")


def _copy_vocabulary(source: Path, target: Path) -> None:
    shutil.copy(source / DICTIONARY, target / DICTIONARY)
    for path, name in zip(bpe_files(source), _BPE_NAMES, strict=True):
        shutil.copy(path, target / name)


def _check_unused(target: Path) -> None:
    if os.path.exists(target) and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--to {target} is in use; choose another directory")
