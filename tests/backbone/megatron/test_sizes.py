"""MegatronLM-11B's known sizes, counted without memory."""

import pytest
import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError

from ptune_scale.backbone.megatron import MEGATRON_11B, MegatronConfig, MegatronForCausalLM
from ptune_scale.backbone.megatron.tensors import part_shape, tensor_shapes
from ptune_scale.prompt.encoder import count_parameters


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    with init_empty_weights(include_buffers=False):
        model = MegatronForCausalLM(MEGATRON_11B)
    # While a model is made empty, every assignment makes a new parameter: nothing stays tied.
    model.tie_weights()
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not list(model.buffers())
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def test_megatron_11b_has_11_032_246_272_parameters(shapes: dict[str, tuple[int, ...]]) -> None:
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 11_032_246_272


def test_each_of_eight_ranks_has_1_380_197_376_of_them(shapes: dict[str, tuple[int, ...]]) -> None:
    parts = [part_shape(name, shape, 8) for name, shape in shapes.items()]
    assert sum(torch.Size(shape).numel() for shape in parts) == 1_380_197_376


def test_its_prompt_encoder_of_six_tokens_has_132_194_304() -> None:
    assert count_parameters("lstm", MEGATRON_11B.hidden_size, 6) == 132_194_304


def test_the_list_of_tensors_is_what_the_model_has(shapes: dict[str, tuple[int, ...]]) -> None:
    assert tensor_shapes(MEGATRON_11B) == shapes


def test_heads_that_do_not_divide_the_hidden_size_are_refused() -> None:
    with pytest.raises(StrictDataclassError, match="multiple of the 7 attention heads"):
        MegatronConfig(hidden_size=48, num_attention_heads=7)
