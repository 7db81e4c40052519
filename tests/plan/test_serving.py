"""A layout as a server: the clients keep prompts and encoders, and send little."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from ptune_scale.backbone.megatron import MEGATRON_11B
from ptune_scale.parallel import Degrees
from ptune_scale.plan import LayoutPlan, Planner, Request
from ptune_scale.plan.serving import plan_serving, serving_table
from tests.plan.test_golden import LLAMA_70B

MEGATRON = Request(name="11b", config=MEGATRON_11B, num_gpus=8)


def planned(request: Request, **degrees: int) -> LayoutPlan:
    return Planner(request).plan(Degrees.resolve(request.num_gpus, **degrees))


def test_11b_on_8_needs_no_memory_for_prompts_and_little_of_the_network() -> None:
    plan = planned(MEGATRON, tensor=8)
    serving = plan_serving(plan, tflops=100.0, tasks_per_step=8)
    encoders = plan.fullest.memory["prompt_encoders"]
    # What is left of them is P itself, as free vectors with Adam's state.
    vectors = 16 * 8 * 6 * MEGATRON_11B.hidden_size
    expected = plan.fullest.memory["total"] - encoders + vectors
    assert serving.memory == pytest.approx(expected, rel=1e-2)
    assert serving.rows_in_a_pass >= plan.largest_batch
    matrix = 4 * 8 * 6 * MEGATRON_11B.hidden_size
    assert serving.sent_down == matrix
    assert serving.sent_up == matrix + 32 * 16 * 8 + 32 * 40
    assert serving.tokens_per_second == pytest.approx(8 * 100e12 * 0.4 / (4 * 11_032_246_272))
    assert serving.steps_per_second == pytest.approx(serving.tokens_per_second / (32 * 16))
    assert "tokens a second, trained on" in serving_table(serving, 100.0)


def test_70b_on_16_fits_and_a_step_s_traffic_does_not_depend_on_its_layers() -> None:
    config = LlamaConfig(**{k: v for k, v in LLAMA_70B.items() if k != "model_type"})
    request = Request(name="70b", config=config, num_gpus=16, dtype=torch.bfloat16)
    plan = planned(request, tensor=8, pipeline=2)
    serving = plan_serving(plan, tflops=989.0, tasks_per_step=8)
    assert serving.memory < 0.9 * request.gpu_memory
    shallow = LlamaConfig(**{**config.to_dict(), "num_hidden_layers": 2})
    small = planned(replace(request, config=shallow), tensor=8, pipeline=2)
    other = plan_serving(small, tflops=989.0, tasks_per_step=8)
    assert (other.sent_up, other.sent_down) == (serving.sent_up, serving.sent_down)
    assert other.tokens_per_second > 10 * serving.tokens_per_second
