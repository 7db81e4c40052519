"""The parts that fairseq's model parallelism saved, read as whole tensors in slices of any size.

Splitting anew over another number of ranks is reading other slices; nothing is merged for it.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ptune_scale.backbone.megatron.config import MEGATRON_11B, MegatronConfig
from ptune_scale.backbone.megatron.parts import DICTIONARY, check_sequence, is_legacy, load_part
from ptune_scale.backbone.megatron.tensors import our_name, part_shape, split_dim, tensor_shapes
from ptune_scale.backbone.megatron.tokenizer import NUM_SPECIALS, read_dictionary
from ptune_scale.backbone.weights import WeightSource
from ptune_scale.errors import UserError
from ptune_scale.reading import shown

_LAYER = re.compile(r"model\.layers\.(\d+)\.")
# Ranks of one training run may drift apart in these by rounding; biases of two runs, or of two
# models, have next to nothing in common.
_SAME_RUN = 0.1
_CONTEXT = ("max_target_positions", "tokens_per_sample")
_MOST = 2**31
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_REQUIRED_ARGS = {
    "activation_fn": "gelu",
    "decoder_learned_pos": False,
    "no_scale_embedding": False,
    "no_token_positional_embeddings": False,
}


class MegatronShardSource(WeightSource):
    """``model-model_part-0.pt`` ... and ``dict.txt`` of a fairseq Megatron checkpoint.

    Everything is checked at once, from the files' headers and a few small tensors. Two shards of
    one model whose names were exchanged cannot be told apart.

    Args:
        directory: where the files are; the number of shards is the number of files.

    Attributes:
        config: sizes, from the settings in the shards and checked against their tensors.
        dtype: in which the word embeddings are stored, float16 in the published checkpoint.

    Raises:
        UserError: names the file that is missing, damaged, refused, of an older format, of another
            model, or, for ``dict.txt``, of another length than the vocabulary.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._paths = check_sequence(directory)
        self._parts: list[dict[str, Tensor]] = []
        for path in self._paths:
            if is_legacy(path):
                raise UserError(
                    f"shard {path} has PyTorch's file format from before 1.6, which can only be "
                    f"read whole; convert it once: python launchers/convert.py --from {directory} "
                    "--to NEW_DIRECTORY"
                )
            content = load_part(path)
            self._parts.append(_named(content["model"], path))
            if path == self._paths[0]:
                args = content.get("args")
        self.config = _infer_config(self._parts[0], args, len(self._paths), self._paths[0])
        self._shapes = tensor_shapes(self.config)
        for part, path in zip(self._parts, self._paths, strict=True):
            self._check_shapes(part, path)
        self._check_replicated()
        self.dtype = self._parts[0]["model.embed_tokens.weight"].dtype
        self._check_dictionary()

    def names(self) -> frozenset[str]:
        return frozenset(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def read(self, name: str, dim: int = 0, start: int = 0, stop: int | None = None) -> Tensor:
        length = self._shapes[name][dim]
        stop = length if stop is None else min(stop, length)
        if start >= stop:
            return self.read(name, dim, 0, 1).narrow(dim, 0, 0)
        return _join(list(self._pieces(name, dim, start, stop)), split_dim(name) or 0)

    def _pieces(self, name: str, dim: int, start: int, stop: int) -> Iterator[Tensor]:
        """What the parts hold of a slice, in rank order."""
        along = split_dim(name)
        if along != dim:
            for part in self._parts[: 1 if along is None else None]:
                yield part[name].narrow(dim, start, stop - start)
            return
        length = self._shapes[name][dim] // len(self._parts)
        for index in range(start // length, -(-stop // length)):
            begin, end = max(start - index * length, 0), min(stop - index * length, length)
            yield self._parts[index][name].narrow(dim, begin, end - begin)

    def _check_shapes(self, part: dict[str, Tensor], path: Path) -> None:
        num_parts = len(self._paths)
        for name, shape in self._shapes.items():
            expected = part_shape(name, shape, num_parts)
            if name not in part:
                raise UserError(f"shard {path} has no tensor {name!r}: is it of another model?")
            if part[name].shape != expected:
                raise UserError(
                    f"shard {path}: {name!r} has shape {list(part[name].shape)}, expected "
                    f"{list(expected)} as one of {num_parts} parts: is it of another model, or "
                    "are there more parts?"
                )
            if part[name].dtype != self._parts[0][name].dtype:
                raise UserError(f"shard {path}: {name!r} has another dtype than in part 0")
        unknown = part.keys() - self._shapes.keys()
        if unknown:
            raise UserError(
                f"shard {path} holds {min(unknown)!r}, which this architecture does not have"
            )

    def _check_replicated(self) -> None:
        last = self.config.num_hidden_layers - 1
        names = ["model.layer_norm.bias"]
        for index in sorted({0, last // 2, last}):
            for module in ("self_attn.out_proj", "fc2", "final_layer_norm"):
                names.append(f"model.layers.{index}.{module}.bias")
        for name in names:
            first = self._parts[0][name].float()
            for part, path in zip(self._parts[1:], self._paths[1:], strict=True):
                other = part[name].float()
                scale = max(first.norm(), other.norm())
                if not (other - first).norm() <= _SAME_RUN * scale:
                    raise UserError(
                        f"shard {path} is of another model than {self._paths[0].name}: "
                        f"{name!r}, of which every shard has a copy, differs"
                    )

    def _check_dictionary(self) -> None:
        path = self.directory / DICTIONARY
        lines, expected = len(read_dictionary(path)), self.config.vocab_size - NUM_SPECIALS
        if lines != expected:
            raise UserError(
                f"{path} has {lines} lines, expected {expected} for a vocabulary of "
                f"{self.config.vocab_size}: it is cut off or of another model"
            )


def _join(pieces: list[Tensor], dim: int) -> Tensor:
    return pieces[0].contiguous() if len(pieces) == 1 else torch.cat(pieces, dim)


def _named(model: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of a shard under the names of our model."""
    named = {name: t.detach() for key, t in model.items() if (name := our_name(key)) is not None}
    words = named.get("model.embed_tokens.weight")
    if words is None or words.dim() != 2:
        raise UserError(f"shard {path} is not of a decoder-only model: it has no word embeddings")
    odd = [name for name, tensor in named.items() if tensor.dtype not in _DTYPES]
    if odd:
        raise UserError(f"shard {path}: {odd[0]!r} is {named[odd[0]].dtype}, which no weight is")
    head = model.get("decoder.output_projection.weight", words)
    # A few rows are enough to tell a head that was trained on its own.
    if head.shape != words.shape or not torch.equal(head[:8], words[:8]):
        raise UserError(f"shard {path} has a head of its own; only a tied one is supported")
    return named


def _infer_config(
    part: dict[str, Tensor], args: object, num_parts: int, path: Path
) -> MegatronConfig:
    """Sizes by the tensors of one part; heads and context, which no tensor shows, by ``args``."""
    rows, size = part["model.embed_tokens.weight"].shape
    layers = {int(m[1]) for name in part if (m := _LAYER.match(name))}
    inner = part.get("model.layers.0.fc1.bias")
    if not layers or inner is None or inner.dim() != 1:
        raise UserError(f"shard {path} has no tensor 'model.layers.0.fc1.bias'")
    sizes = {
        "decoder_layers": max(layers) + 1,
        "decoder_embed_dim": size,
        "decoder_ffn_embed_dim": inner.shape[0] * num_parts,
    }
    said = vars(args) if isinstance(args, argparse.Namespace) else {}
    for key, value in {**sizes, **_REQUIRED_ARGS}.items():
        # Of the same type: a tensor is equal to nothing, and True to 1.
        if key in said and (type(said[key]) is not type(value) or said[key] != value):
            raise UserError(
                f"shard {path}: its settings say {key} = {shown(said[key])}, but "
                + (f"the tensors of {num_parts} parts make it " if key in sizes else "only ")
                + (f"{value!r}" if key in sizes else f"{value!r} is supported")
            )
    for key in (*_CONTEXT, "decoder_attention_heads"):
        if said.get(key) is not None and not (type(said[key]) is int and 0 < said[key] < _MOST):
            raise UserError(
                f"shard {path}: its settings say {key} = {shown(said[key])}, which is no number "
                "of them"
            )
    context = next((said[key] for key in _CONTEXT if said.get(key) is not None), 1024)
    heads = said.get("decoder_attention_heads")
    if heads is None and size == MEGATRON_11B.hidden_size:
        heads = MEGATRON_11B.num_attention_heads
    if not heads or size % heads or size % 2 or heads % num_parts:
        raise UserError(
            f"shard {path}: decoder_attention_heads is {heads!r} in its settings, which does not "
            f"divide the hidden size {size} over {num_parts} parts"
        )
    return MegatronConfig(
        architectures=["MegatronForCausalLM"],
        vocab_size=rows * num_parts,
        hidden_size=size,
        num_hidden_layers=sizes["decoder_layers"],
        num_attention_heads=heads,
        intermediate_size=sizes["decoder_ffn_embed_dim"],
        max_position_embeddings=context,
    )
