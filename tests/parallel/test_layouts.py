"""Whatever the layout, the losses, prompt gradients and ranks of one process come out.

Real ranks over gloo; within one run of them several layouts are built one after another.
"""

import pytest
import torch

from ptune_scale.parallel.pipeline.engine import KEPT_SCHEDULES
from ptune_scale.plan import LayoutPlan

RELATIVE = 1e-5
"""Tolerance of losses and gradients in fp32, relative to the largest of them."""


def assert_same(one: dict, other: dict) -> None:
    for key in ("losses", "gradients"):
        for expected, found in zip(one[key], other[key], strict=True):
            scale = float(expected.abs().max())
            assert scale > 1e-2
            torch.testing.assert_close(found, expected, atol=RELATIVE * scale, rtol=0)
    for expected, found in zip(one["ranks"], other["ranks"], strict=True):
        assert torch.equal(found, expected)
    torch.testing.assert_close(other["top"][0], one["top"][0], atol=1e-6, rtol=1e-5)
    assert torch.equal(other["top"][1], one["top"][1])
    found, expected = other["log_probabilities"], one["log_probabilities"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert other.get("tokens") == one.get("tokens")
    assert other.get("ended") == one.get("ended")
    for found, expected in zip(other.get("scores", ()), one.get("scores", ()), strict=True):
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=0)
    assert other["untouched"] and other["same_bytes"]


def local_shares(one: dict, other: dict) -> list[float]:
    """Backbone elements of each rank as a share of the whole."""
    return [int(count) / int(one["local"][0]) for count in other["local"]]


def assert_planned(plan: LayoutPlan, real: dict) -> None:
    """A dry run finds as many elements on each rank as there are."""
    found = [rank.parameters for rank in plan.ranks for _ in range(rank.count)]
    assert sorted(found) == sorted(real["local"].tolist()), plan.degrees.name


@pytest.mark.parametrize("family", ["gpt2", "llama", "llama_untied", "megatron"])
def test_two_ranks_equal_one(family, small_model, run_layouts, plan_layout):
    [one] = run_layouts(small_model(family), 1, ["1-1-0"])
    assert one["layout"] == "single"
    layouts = ["1-1-0", "1-1-3", "2-1-0", "1-2-0"]
    dp, zero3, tp, pp = run_layouts(small_model(family), 2, layouts)
    names = [result["layout"] for result in (dp, zero3, tp, pp)]
    assert names == ["dp2", "zero3", "tp2", "pp2"]
    for layout, other in zip(layouts, (dp, zero3, tp, pp), strict=True):
        assert_same(one, other)
        assert_planned(plan_layout(small_model(family), 2, layout), other)
    assert local_shares(one, dp) == [1, 1]
    assert [one["has_cache"] for one in (dp, zero3, tp, pp)] == [family != "megatron"] * 3 + [False]
    assert pp["schedules"] == KEPT_SCHEDULES
    # Weights whose size is odd are padded by at most one element each.
    assert all(0.5 <= share < 0.502 for share in local_shares(one, zero3))
    # Norms, row-parallel biases and position embeddings are whole on each tensor-parallel rank.
    assert all(0.5 <= share < 0.56 for share in local_shares(one, tp))
    # Tied word embeddings are needed on the first stage and on the last.
    assert all(0.49 < share < 0.56 for share in local_shares(one, pp))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_products_on_four_ranks_equal_one(family, small_model, run_layouts, plan_layout):
    [one] = run_layouts(small_model(family), 1, ["1-1-0"])
    layouts = ["2-1-0", "1-2-0", "2-2-0", "4-1-0", "1-4-0"]
    names = ["dp2 x tp2", "dp2 x pp2", "pp2 x tp2", "tp4", "pp4"]
    if family == "gpt2":
        layouts.append("2-1-3")
        names.append("zero3(2) x tp2")
    found = run_layouts(small_model(family), 4, layouts)
    assert [result["layout"] for result in found] == names
    for layout, other in zip(layouts, found, strict=True):
        assert_same(one, other)
        assert_planned(plan_layout(small_model(family), 4, layout), other)
    assert max(local_shares(one, found[2])) < 0.3
    if family == "gpt2":
        assert all(0.25 <= share < 0.28 for share in local_shares(one, found[5]))


def test_all_three_dimensions_on_eight_ranks_equal_one(small_model, run_layouts):
    [one] = run_layouts(small_model("gpt2"), 1, ["1-1-0"])
    [other] = run_layouts(small_model("gpt2"), 8, ["2-2-0"])
    assert other["layout"] == "dp2 x pp2 x tp2"
    assert_same(one, other)


def test_a_masked_model_runs_under_zero3_and_in_stages(small_model, run_layouts):
    [one] = run_layouts(small_model("bert"), 1, ["1-1-0"])
    zero3, pp = run_layouts(small_model("bert"), 2, ["1-1-3", "1-2-0"])
    assert_same(one, zero3)
    assert_same(one, pp)
    assert all(0.5 <= share < 0.51 for share in local_shares(one, zero3))


def test_norms_of_single_heads_are_spread_with_their_heads(small_model, run_layouts):
    [one] = run_layouts(small_model("qwen3"), 1, ["1-1-0"])
    for other in run_layouts(small_model("qwen3"), 2, ["2-1-0", "1-2-0"]):
        assert_same(one, other)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_half_precision_is_near_one_process(family, small_model, run_layouts):
    [one] = run_layouts(small_model(family), 1, ["1-1-0-bf16"])
    layouts = ["1-1-3-bf16", "2-1-0-bf16", "1-2-0-bf16"]
    for other in run_layouts(small_model(family), 2, layouts):
        for key in ("losses", "gradients"):
            for expected, found in zip(one[key], other[key], strict=True):
                assert (found - expected).norm() < 0.05 * expected.norm()
        assert other["untouched"] and other["same_bytes"]


def test_buffers_that_checkpoints_hold_are_read(small_model, run_layouts):
    [one] = run_layouts(small_model("gemma4"), 1, ["1-1-0"])
    for other in run_layouts(small_model("gemma4"), 2, ["1-1-3", "1-2-0"]):
        assert_same(one, other)


def test_a_checkpoint_that_cannot_be_sliced_runs_under_zero3(small_model, run_layouts):
    [one] = run_layouts(small_model("llama_bin"), 1, ["1-1-0"])
    [other] = run_layouts(small_model("llama_bin"), 2, ["1-1-3"])
    assert_same(one, other)
    assert one["embeddings"].shape == (65, 32)
    assert torch.equal(other["embeddings"], one["embeddings"])
    assert all(0.5 <= share < 0.502 for share in local_shares(one, other))
