"""Numbers that are known otherwise: published sizes, and small models counted by hand."""

import json
from typing import Any

import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from ptune_scale.backbone.megatron import MEGATRON_11B
from ptune_scale.parallel import Degrees
from ptune_scale.plan import LayoutPlan, Planner, Request, considered, find_config, recommended

LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 28672,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}


def plan(config: Any, degrees: Degrees, **values: Any) -> LayoutPlan:
    request = Request(name="model", config=config, num_gpus=degrees.world_size, **values)
    return Planner(request).plan(degrees)


def tiny_llama() -> LlamaConfig:
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        hidden_size=8,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=12,
        vocab_size=20,
        tie_word_embeddings=False,
    )


# Query and output 8 x 8, key and value 4 x 8, three matrices 12 x 8, two norms of 8.
LLAMA_LAYER = 64 + 64 + 32 + 32 + 3 * 96 + 2 * 8


def tiny_gpt2() -> GPT2Config:
    return GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=16, vocab_size=21)


# Fused 8 x 24, output 8 x 8, 8 x 32 and 32 x 8, each with its bias, two norms with biases.
GPT2_LAYER = (192 + 24) + (64 + 8) + (256 + 32) + (256 + 8) + 2 * 16


def test_megatron_11b_on_eight_tensor_parallel_ranks():
    found = plan(MEGATRON_11B, Degrees(tensor=8), tasks=1)
    assert found.request.parameters == 11_032_246_272
    assert found.fullest.parameters == 1_380_197_376
    assert found.fullest.prompt_encoder_parameters == 132_194_304
    assert found.fullest.memory["backbone"] == 2 * 1_380_197_376
    assert found.fullest.memory["prompt_encoders"] == 16 * 132_194_304
    # Forward, each layer sums attention and feed-forward; backward, q, k, v and fc1 each sum; the
    # word embeddings and the head sum once. Payload W, of which a ring sends 2 W 7 / 8.
    hidden = 2 * 32 * 16 * 3072 * 2 * 7 // 8
    passes = found.fullest.communication["all_reduce"]
    assert passes["forward"] == pytest.approx((2 * 72 + 1) * hidden, rel=1e-5)
    assert passes["backward"] == pytest.approx(4 * 72 * hidden, rel=1e-3)


def test_megatron_11b_under_zero3_keeps_an_eighth_of_each_weight():
    found = plan(MEGATRON_11B, Degrees(data=8, zero_stage=3))
    assert found.fullest.parameters == 11_032_246_272 // 8
    both = found.fullest.communication["all_gather"]
    # 0.5 billion elements stay from the forward to the backward pass.
    words = 51200 * 3072
    assert both["forward"] == (11_032_246_272 + words) * 2 * 7 // 8
    assert both["backward"] == (11_032_246_272 - 500_000_000) * 2 * 7 // 8


def test_a_small_llama_counted_by_hand():
    ends = 2 * 20 * 8 + 8
    one = plan(tiny_llama(), Degrees())
    assert one.fullest.parameters == 4 * LLAMA_LAYER + ends
    two = plan(tiny_llama(), Degrees(tensor=2))
    assert two.fullest.parameters == 4 * ((LLAMA_LAYER - 16) // 2 + 16) + (ends - 8) // 2 + 8
    # With more ranks than key-value heads, each rank has one whole head, 2 x 8 for both.
    four = plan(tiny_llama(), Degrees(tensor=4))
    assert four.fullest.parameters == 4 * ((64 + 64 + 288) // 4 + 32 + 16) + 2 * 5 * 8 + 8
    first, last = plan(tiny_llama(), Degrees(pipeline=2)).ranks
    assert (first.layers, last.layers) == (2, 2)
    assert first.parameters == 2 * LLAMA_LAYER + 20 * 8
    assert last.parameters == 2 * LLAMA_LAYER + 20 * 8 + 8
    assert first.prompt_encoder_parameters > 0 == last.prompt_encoder_parameters


def test_a_small_gpt2_counted_by_hand():
    # Tied word embeddings, position embeddings, the last norm.
    total = 2 * GPT2_LAYER + 21 * 8 + 16 * 8 + 16
    assert plan(tiny_gpt2(), Degrees()).fullest.parameters == total
    spread = 192 + 24 + 64 + 256 + 32 + 256
    two = plan(tiny_gpt2(), Degrees(tensor=2)).fullest
    # 21 tokens are two shards of 11; position embeddings, norms and row biases are whole.
    assert two.parameters == 2 * (GPT2_LAYER - spread // 2) + 11 * 8 + 16 * 8 + 16
    assert plan(tiny_gpt2(), Degrees(data=2, zero_stage=3)).fullest.parameters == total // 2
    both = plan(tiny_gpt2(), Degrees(data=2, tensor=2, zero_stage=3)).fullest
    assert both.parameters == two.parameters // 2
    # All of it stays between the passes, so it is gathered once.
    assert both.communication["all_gather"] == {"forward": two.parameters, "backward": 0}


def test_a_llama_of_70_billion_parameters_on_sixteen_gpus(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA_70B))
    config = find_config(str(path), torch.bfloat16)
    request = Request(name="70b", config=config, num_gpus=16, tasks=1)
    assert request.parameters == 70_553_706_496
    layouts = considered(request)
    names = {degrees.name for degrees in layouts}
    assert {"dp16", "zero3", "pp16", "dp4 x tp4", "dp2 x pp4 x tp2", "pp2 x tp8"} <= names
    planner = Planner(request)
    some = [d for d in layouts if d.name in ("dp16", "zero3", "pp16", "dp4 x tp4")]
    whole, zero3, pipeline, tensor = (planner.plan(degrees) for degrees in some)
    assert not whole.fits and whole.largest_batch == 0
    assert zero3.fits and zero3.fullest.parameters == pytest.approx(70_553_706_496 / 16, rel=1e-6)
    assert pipeline.fits and len(pipeline.ranks) == 3
    assert sum(rank.layers * rank.count for rank in pipeline.ranks) == 80
    assert recommended([whole, zero3, pipeline, tensor])[0] is tensor
    assert tensor.largest_batch > 100 and tensor.largest_batch % 4 == 0


def test_owned_encoders_are_spread_over_ranks():
    values = {"tasks": 41, "encoder_sharing": "none"}
    everywhere = plan(tiny_llama(), Degrees(data=8), **values).fullest
    owned = plan(tiny_llama(), Degrees(data=8), **values, encoder_placement="owned").fullest
    assert owned.prompt_encoder_parameters * 41 == everywhere.prompt_encoder_parameters * 6
    assert everywhere.communication["all_reduce"]["forward"] == 0
    assert owned.communication["all_reduce"]["forward"] > 0
