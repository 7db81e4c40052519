"""A backbone that trains through DeepSpeed takes the steps of a plain PyTorch loop."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import (
    Degrees,
    TunedFunction,
    TuneSettings,
    World,
    check_tuned,
    single,
)
from tests.forked import run_ranks
from tests.parallel import tuned_worker as worker

RELATIVE = 1e-5
"""Tolerance in fp32, relative to the largest value of a tensor, or to 0.01 if all are smaller."""


WEIGHT = 4e-6
"""Tolerance of fp32 weights after three steps that together move them by up to 0.04."""


@contextmanager
def tuned(
    model: Path, layout: str = "0", rows: int | None = None, **settings: float
) -> Iterator[tuple[TunedFunction, torch.Tensor]]:
    settings = {"epsilon": worker.SETTINGS.epsilon, **settings}
    function, prompts = worker.begin(str(model), layout, World(), TuneSettings(**settings), rows)
    try:
        yield function, prompts
    finally:
        function.close()


def assert_near(found: torch.Tensor, expected: torch.Tensor, relative: float = RELATIVE) -> None:
    scale = max(float(expected.abs().max()), 0.03)  # some gradients are rounding alone
    torch.testing.assert_close(found, expected, atol=relative * scale, rtol=0)


def assert_same_weight(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=WEIGHT, rtol=0)


def plain_loss(
    model: PreTrainedModel, step: int, prompts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of both tasks, row by row as the model was written, from P as a leaf."""
    batch = worker.fixed_batch(step)
    losses = torch.zeros(2)
    leaf = prompts.clone().requires_grad_()
    for row in range(len(batch)):
        example = batch.examples[row]
        task = example.task
        words = model.get_input_embeddings()(torch.tensor(example.ids))
        inputs = torch.cat([leaf[task, :1], words[1:-1], leaf[task, 1:]])
        logits = model(inputs_embeds=inputs.unsqueeze(0)).logits[0, -1]
        loss = torch.nn.functional.cross_entropy(logits.float(), batch.answers[row, 0])
        losses = losses.index_add(0, torch.tensor([task]), (loss * batch.weights[row])[None])
    return losses, leaf


@pytest.mark.parametrize("family", ["gpt2", "llama", "llama_untied", "bert"])
def test_three_steps_equal_a_plain_loop(family, small_model):
    directory = small_model(family)
    auto = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    plain = auto.from_pretrained(directory, dtype=torch.float32).eval()
    named = dict(plain.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in named.values() if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in named.values() if p.dim() == 1], "weight_decay": 0.0},
        ],
        eps=worker.SETTINGS.epsilon,
    )
    before = {name: p.detach().clone() for name, p in named.items()}
    with tuned(directory) as (function, prompts):
        for step, rate in enumerate(worker.RATES):
            losses, gradient = function.loss_and_gradient(worker.fixed_batch(step), prompts)
            expected, leaf = plain_loss(plain, step, prompts)
            expected.sum().backward()
            assert_near(losses, expected.detach())
            assert_near(gradient, leaf.grad)
            for name, parameter in function.engine.lm.model.named_parameters():
                assert_near(parameter.grad, named[name].grad)
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
            function.step(rate)
        after = worker.weights_of(function)
    assert after.keys() == named.keys()
    for name, parameter in named.items():
        assert_same_weight(after[name], parameter.detach())
        assert not torch.equal(after[name], before[name]), f"{name} was not trained"


def test_prompt_gradients_are_those_of_the_frozen_function(small_model):
    frozen = single(load_backbone(str(small_model("gpt2"))).lm)
    with tuned(small_model("gpt2")) as (function, prompts):
        batch = worker.fixed_batch(0)
        losses, gradient = function.loss_and_gradient(batch, prompts)
        expected, expected_gradient = frozen.loss_and_gradient(batch, prompts)
    assert_near(losses, expected)
    assert_near(gradient, expected_gradient)


@pytest.mark.parametrize("layout", ["0", "0-bf16"])
def test_several_parts_equal_one(layout, small_model):
    found = []
    for rows in (None, 2):
        with tuned(small_model("llama"), layout, rows) as (function, prompts):
            found.append(worker.steps(function, prompts, range(3)))
    relative = RELATIVE if layout == "0" else 0.05
    for one, other in zip(found[0]["losses"], found[1]["losses"], strict=True):
        assert_near(other, one, relative)
    for name, weight in found[0]["weights"].items():
        if layout == "0":
            assert_same_weight(found[1]["weights"][name], weight)
        else:
            assert (found[1]["weights"][name] - weight).norm() < 0.01 * weight.norm()


def test_half_precision_keeps_updates_that_are_below_its_rounding(small_model):
    with tuned(small_model("llama"), "0-bf16") as (function, prompts):
        before = worker.weights_of(function)
        for _ in range(40):
            function.loss_and_gradient(worker.fixed_batch(0), prompts)
            function.step(2e-5)
        after = worker.weights_of(function)
    name = "model.layers.0.mlp.up_proj.weight"
    large = before[name].abs() > 0.1  # a bf16 number of this size has neighbours 5e-4 away
    assert after[name].dtype == torch.bfloat16
    assert (after[name] != before[name])[large].float().mean() > 0.1


def test_dropout_is_off_unless_asked_for_and_never_in_evaluation(small_model):
    def losses(dropout: bool) -> list[torch.Tensor]:
        with tuned(small_model("gpt2"), dropout=dropout) as (function, prompts):
            batch = worker.fixed_batch(0)
            found = [function.loss_and_gradient(batch, prompts)[0] for _ in range(2)]
            found += [function.top(batch, prompts, 3)[0] for _ in range(2)]
            return found

    without, with_it = losses(False), losses(True)
    assert torch.equal(without[0], without[1])
    assert not torch.equal(with_it[0], with_it[1])
    torch.testing.assert_close(with_it[2], without[2])
    assert torch.equal(with_it[2], with_it[3])


def test_tensor_and_pipeline_parallel_degrees_are_refused():
    for degrees in (Degrees(tensor=2), Degrees(pipeline=2), Degrees(data=2, tensor=2)):
        with pytest.raises(UserError, match="leave out --tensor_parallel and --pipeline_parallel"):
            check_tuned(degrees)
    check_tuned(Degrees(data=2, zero_stage=3))


def test_nothing_is_left_behind_in_the_process(small_model):
    with tuned(small_model("gpt2")) as (function, prompts):
        function.loss_and_gradient(worker.fixed_batch(0), prompts)
    assert not dist.is_initialized()
    assert "LOCAL_RANK" not in os.environ


def test_two_ranks_take_the_steps_of_one(small_model, tmp_path):
    """Replicas and ZeRO-3, on the same ranks."""
    directory = small_model("llama")
    with tuned(directory) as (function, prompts):
        one = worker.steps(function, prompts, range(3))
    run_ranks(2, tmp_path, worker.main, str(directory), tmp_path, ["0", "3"])
    whole = sum(weight.numel() for weight in one["weights"].values())
    for layout in ("0", "3"):
        other = torch.load(tmp_path / f"{layout}.pt", weights_only=True)
        for key in ("losses", "gradients"):
            for found, expected in zip(other[key], one[key], strict=True):
                assert_near(found, expected)
        for name, weight in one["weights"].items():
            assert_same_weight(other["weights"][name], weight)
        if layout == "3":
            assert whole / 2 <= other["local"] < 0.502 * whole
