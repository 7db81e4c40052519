"""A GGUF file with a row for each slot, for llama.cpp and what is built on it.

Made from the GGUF file that the model came from: all of it is copied but the word embeddings, and a
head of its own, which are written as numbers that are not quantized, with the new rows.

Shapes: V vocabulary, M new rows, H embedding size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptune_scale.backbone.source import find_model
from ptune_scale.errors import UserError
from ptune_scale.task.record import Record
from ptune_scale.use.formats.added_tokens import (
    Added,
    add_tokens,
    describe,
    embedding_scale,
    logits_over,
    vectors_of,
)
from ptune_scale.use.formats.format import Format, Logits
from ptune_scale.use.prompt import TunedPrompt

NAME = "gguf"

_FILE = "model.gguf"
_WORDS, _HEAD = "token_embd.weight", "output.weight"
_CONTROL = 3
"""Type of a token that is read as one wherever a text is tokenized with its special tokens."""

_GROWING = {"tokenizer.ggml.scores": 0.0, "tokenizer.ggml.token_type": _CONTROL}
"""Lists with a value for each token, and that of new ones."""


def _check(prompt: TunedPrompt, rows: Sequence[int]) -> None:
    if not find_model(prompt.backbone.name).is_gguf:
        raise UserError(
            f"--to {NAME} is for models that are GGUF files, which {prompt.backbone.name} is not; "
            "use --to model, and llama.cpp's own converter"
        )
    added = add_tokens(prompt, rows)
    known = prompt.backbone.vocab_size
    if added.flat != list(range(known, known + len(added.flat))):
        raise UserError(
            f"--to {NAME}: the tokenizer of {prompt.backbone.name} has other tokens than its model"
        )


def _write(
    prompt: TunedPrompt, rows: Sequence[int], records: dict[int, list[Record]], directory: Path
) -> None:
    import gguf

    added = add_tokens(prompt, rows)
    reader = gguf.GGUFReader(str(find_model(prompt.backbone.name).path))
    family = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(directory / _FILE, family)
    for field in reader.fields.values():
        if field.name == "general.alignment":  # of what is written too
            writer.add_custom_alignment(field.contents())
        # The writer counts for itself, and has written the family.
        elif not field.name.startswith("GGUF.") and field.name != "general.architecture":
            of_items = field.types[1] if len(field.types) > 1 else None
            value = _value(field, family, added)
            writer.add_key_value(field.name, value, field.types[0], of_items)
    scale = embedding_scale(prompt.backbone.lm.model)
    new = {
        _WORDS: vectors_of(prompt, added, scale).numpy(),
        _HEAD: numpy.zeros((len(added.flat), prompt.backbone.hidden_size), numpy.float32),
    }
    half = prompt.backbone.dtype == torch.bfloat16
    for tensor in reader.tensors:
        if tensor.name not in new:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        old = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        data = numpy.concatenate([old, new[tensor.name]]).astype(numpy.float32)
        kind = gguf.GGMLQuantizationType.BF16 if half else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    describe(prompt, added, directory)


def _value(field: Any, family: str, added: Added) -> Any:
    """What stands under a key of the new file."""
    value = field.contents()
    names = [name for each in added.names.values() for name in each]
    if field.name == "tokenizer.ggml.tokens":
        return [*value, *names]
    if field.name in _GROWING:
        return [*value, *[_GROWING[field.name]] * len(names)]
    return value + len(names) if field.name == f"{family}.vocab_size" else value


def _load(prompt: TunedPrompt, rows: Sequence[int], directory: Path) -> Logits:
    """Read by transformers; llama.cpp is not looked for."""
    where = {"pretrained_model_name_or_path": str(directory), "gguf_file": _FILE}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=prompt.backbone.dtype)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    return logits_over(prompt, rows, model.eval(), tokenizer)


GGUF = Format(NAME, _check, _write, _load, needs="gguf")
