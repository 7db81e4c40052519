"""Activations are what autograd really keeps, and what the formulas say."""

from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from ptune_scale.backbone import FrozenLM
from ptune_scale.backbone.loading import empty_model
from ptune_scale.backbone.megatron import MegatronConfig
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.parallel import Degrees, dry_run
from ptune_scale.parallel.layout import shape, single
from ptune_scale.plan import activations
from ptune_scale.task.example import Example, collate

SIZES = {"hidden_size": 96, "num_hidden_layers": 4, "vocab_size": 101}
CONFIGS = {
    "llama": LlamaConfig(
        **SIZES,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=160,
        architectures=["LlamaForCausalLM"],
    ),
    "gpt2": GPT2Config(n_embd=96, n_layer=4, n_head=4, n_inner=160, vocab_size=101),
    "megatron": MegatronConfig(
        **SIZES,
        num_attention_heads=4,
        intermediate_size=160,
        architectures=["MegatronForCausalLM"],
    ),
}


def per_token_and_layer(family: str, width: int, length: int) -> int:
    """The formulas of ``plan.activations``."""
    size, inner, probabilities = 96, 160, 4 * length
    upcast = 4 + width if width < 4 else 4
    if family == "llama":
        return 8 * size + 3 * width * size + upcast * probabilities + 3 * width * inner + 8
    if family == "gpt2":
        return 5 * width * size + width * probabilities + 4 * width * inner + 16
    return 5 * width * size + upcast * probabilities + 4 * inner + 16


def batch_of(rows: int, length: int) -> Any:
    words = list(range(5, 5 + length - 2))
    slots = (0, *[-1] * (length - 2), 1)
    return collate([Example(0, (0, *words, 0), slots, (length - 1,), (7,))] * rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", list(CONFIGS))
def test_activations_are_what_the_formula_says(family, dtype):
    length = 24
    with dry_run.pretend(Degrees(), 0) as mesh:
        model, _, _, vocabulary = shape(empty_model(CONFIGS[family], dtype), mesh)
        counted = activations.count(model, mesh, vocabulary, length)
    expected = per_token_and_layer(family, dtype.itemsize, length) * 10 * length
    expected += length**2 if family == "megatron" else 0
    assert counted.at(10, 80).kept - counted.at(10, 79).kept == expected


@pytest.mark.parametrize("family", list(CONFIGS))
def test_activations_are_what_autograd_keeps(family):
    """In one process, storages that autograd saves, without weights, each counted once."""
    rows, length = 6, 24
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(CONFIGS[family], attn_implementation="eager")
    function = single(FrozenLM(network, shortcuts=PLAIN))
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        function.loss_and_gradient(batch_of(rows, length), torch.randn(1, 2, 96))
    real = sum(storage.nbytes() for storage in kept.values())
    with dry_run.pretend(Degrees(), 0) as mesh:
        model, _, _, vocabulary = shape(empty_model(CONFIGS[family], torch.float32), mesh)
        counted = activations.count(model, mesh, vocabulary, length).at(rows, 4)
        whole = shape(empty_model(CONFIGS[family], torch.float32), mesh)[0]
        direct = dry_run.run(whole, mesh, vocabulary, rows, length)
    assert counted.kept == pytest.approx(real, rel=0.01)
    assert (counted.kept, counted.traffic) == (direct.kept, direct.traffic)
    assert counted.peak == pytest.approx(direct.peak, rel=0.01)
