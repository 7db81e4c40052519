"""A tiny model of the architecture as fairseq would save it on eight ranks.

The writer spells out fairseq's keys and splits by itself, so that a mistake in the package's own
naming or splitting cannot hide behind the same mistake here.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

VOCAB, SIZE, LAYERS, HEADS, INNER = 512, 48, 2, 8, 96
TEXT = "the capital of is was born in city a Norway Oslo Sweden Stockholm France Paris Europe Asia"
WriteShards = Callable[..., None]


@dataclass
class TinyMegatron:
    """What was written.

    Attributes:
        directory: eight shards, dict.txt, encoder.json, vocab.bpe.
        weights: the whole tensors, float16, by the name they have in our model.
        gpt2_ids: GPT-2's id of each line of dict.txt, None for a line that only fills up.
    """

    directory: Path
    weights: dict[str, Tensor]
    gpt2_ids: list[int | None] = field(repr=False)


@pytest.fixture(scope="session")
def write_shards() -> WriteShards:
    """Writes whole tensors as shards; keyword arguments change what fairseq would have written."""
    return _write_shards


@pytest.fixture(scope="session")
def tiny_weights() -> Callable[[int], dict[str, Tensor]]:
    """Whole random tensors of the tiny model by seed."""
    return _weights


@pytest.fixture(scope="session")
def tiny_megatron(tmp_path_factory: pytest.TempPathFactory) -> TinyMegatron:
    directory = tmp_path_factory.mktemp("tiny_megatron")
    weights = _weights(seed=0)
    _write_shards(directory, weights)
    return TinyMegatron(directory, weights, _write_vocabulary(directory))


def _weights(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float = 0.3, mean: float = 0.0) -> Tensor:
        return (torch.randn(shape, generator=generator) * std + mean).half()

    weights = {"model.embed_tokens.weight": normal(VOCAB, SIZE)}
    shapes = {"fc1": (INNER, SIZE), "fc2": (SIZE, INNER)}
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes[f"self_attn.{name}"] = (SIZE, SIZE)
    for index in range(LAYERS):
        for name, shape in shapes.items():
            weights[f"model.layers.{index}.{name}.weight"] = normal(*shape)
            weights[f"model.layers.{index}.{name}.bias"] = normal(shape[0])
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            weights[f"model.layers.{index}.{name}.weight"] = normal(SIZE, mean=1.0)
            weights[f"model.layers.{index}.{name}.bias"] = normal(SIZE)
    weights["model.layer_norm.weight"] = normal(SIZE, mean=1.0)
    weights["model.layer_norm.bias"] = normal(SIZE)
    return weights


def _write_shards(
    directory: Path,
    weights: dict[str, Tensor],
    *,
    num_parts: int = 8,
    only: int | None = None,
    old_format: bool = False,
    old_keys: bool = False,
    **settings: object,
) -> None:
    args = argparse.Namespace(
        decoder_layers=LAYERS,
        decoder_embed_dim=SIZE,
        decoder_ffn_embed_dim=INNER,
        decoder_attention_heads=HEADS,
        tokens_per_sample=64,
        activation_fn="gelu",
    )
    for name, value in settings.items():
        setattr(args, name, value)
    for part in range(num_parts) if only is None else [only]:
        model = {
            "decoder.version": torch.tensor([3.0]),
            "decoder.embed_positions._float_tensor": torch.zeros(1).half(),
        }
        for name, whole in weights.items():
            key = name.replace("model.", "decoder.", 1)
            if old_keys and ".layers." in key:
                key = key.replace("self_attn_layer_norm", "layer_norms.0")
                key = key.replace("final_layer_norm", "layer_norms.2")
            model[key] = _part_of(key, whole, num_parts)[part].clone()
        model["decoder.output_projection.weight"] = model["decoder.embed_tokens.weight"]
        torch.save(
            {"args": args, "model": model, "optimizer_history": [], "extra_state": {"epoch": 3}},
            directory / f"model-model_part-{part}.pt",
            _use_new_zipfile_serialization=not old_format,
        )


def _part_of(key: str, whole: Tensor, num_parts: int) -> list[Tensor]:
    if key.endswith(("out_proj.weight", "fc2.weight")):
        return list(whole.chunk(num_parts, dim=1))
    if any(name in key for name in ("embed_tokens", "q_proj", "k_proj", "v_proj", "fc1")):
        return list(whole.chunk(num_parts, dim=0))
    return [whole] * num_parts


def _write_vocabulary(directory: Path) -> list[int | None]:
    """A byte-level encoding in GPT-2's files, and a dictionary that has it in another order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 20,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"x {TEXT} ."] * 8, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    encoder = {**state["vocab"], "<|endoftext|>": len(state["vocab"])}
    (directory / "encoder.json").write_text(json.dumps(encoder))
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["merges"]]
    (directory / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges, ""]))
    ids: list[int | None] = torch.randperm(
        len(encoder), generator=torch.Generator().manual_seed(0)
    ).tolist()
    lines = [f"{index} {10_000 - place}" for place, index in enumerate(ids)]
    filler = [f"madeupword{n:04d} 0" for n in range(VOCAB - 4 - len(ids))]
    (directory / "dict.txt").write_text("\n".join([*lines, *filler, ""]))
    return ids + [None] * len(filler)
