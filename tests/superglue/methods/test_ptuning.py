"""Prompts and weights train together, each at its own rate, by the loop that PET is trained by."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from ptune_scale.errors import UserError
from ptune_scale.parallel import EncoderPlacement, TuneSettings, tune
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS
from ptune_scale.task.example import Example
from ptune_scale.task.task import Wording
from ptune_scale.train.finetune import Course, finetune
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.schedule import learning_rate
from ptune_scale.train.trainable import FixedPrompts, TrainableEncoders, TrainedPrompts
from ptune_scale.tune.prompts import build_bank

STEPS = 4
SETTINGS = TuneSettings(epsilon=1e-4, max_grad_norm=0.0)


def _train(job: TaskJob, wording: Wording, lr: float, encoder_lr: float | None) -> dict[str, Any]:
    """Losses, and weights and encoder before and after; without ``encoder_lr`` P is fixed."""
    [config] = job.config.grid(job.own.few_shot, tunes_backbone=True)
    config = replace(config, lr=lr, max_grad_norm=0.0)
    function = tune(job.backbone, job.site.mesh, SETTINGS)
    asked = job.asked_by(wording)
    problem = job.problem([asked], function)
    # Where a pattern has no slots, P has some that no row has.
    tuned = asked if asked.num_slots else job.asked_by(job.task.wording)
    placement = EncoderPlacement.build("replicated", job.site.mesh, 1)
    bank = build_bank(job, [tuned], config, placement)
    prompts = FixedPrompts(job.no_prompts)
    if encoder_lr is not None:
        of_prompts = replace(config, lr=encoder_lr)
        prompts = TrainedPrompts(TrainableEncoders(bank, placement, of_prompts), [0], of_prompts)

    def state() -> list[Tensor]:
        weights = [p.detach().clone() for p in function.engine.lm.parameters()]
        return weights if encoder_lr is None else [*weights, *_copies(bank)]

    order = TaskOrder(job.task.name, asked.learn, config.batch_size, config.seed)
    before = state()
    result = finetune(
        function,
        Course(order, STEPS, config.eval_every or order.visits_per_epoch),
        problem,
        prompts,
        lambda present: present,
        config,
        lambda step, score: None,
    )
    after = state()
    function.close()
    split = len(before) if encoder_lr is None else len(before) - len(_copies(bank))
    moved = [not torch.equal(old, new) for old, new in zip(before, after, strict=True)]
    return {
        "losses": result.losses,
        "weights": after[:split],
        "weights_moved": moved[:split],
        "encoder_moved": moved[split:],
        "prompts": result.tested,
        "config": config,
        "asked": asked,
        "order": order,
    }


def _copies(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def _plain_logits(model: PreTrainedModel, row: Example, prompts: Tensor) -> Tensor:
    """What a model computes of a row that stands alone, (T, V), by way of prompts (1, S, H)."""
    embedded = model.get_input_embeddings()(torch.tensor([row.ids]))
    slots = torch.tensor([row.slots])
    there = (slots >= 0).unsqueeze(-1)
    return model(inputs_embeds=torch.where(there, prompts[0][slots.clamp(min=0)], embedded)).logits[
        0
    ]


@pytest.mark.parametrize(("model", "task"), [("tiny_causal", "COPA"), ("tiny_masked", "BoolQ")])
def test_weights_and_encoder_move_at_their_own_rates(model, task, job_of, request) -> None:
    # Two slots in a row: the LSTM's recurrent weights need two steps to get a gradient.
    job = job_of(request.getfixturevalue(model), task, num_slots=2)
    both = _train(job, job.task.wording, 1e-3, 1e-2)
    assert all(both["weights_moved"])
    assert all(both["encoder_moved"])
    weights = _train(job, job.task.wording, 1e-3, 0.0)
    assert all(weights["weights_moved"])
    assert not any(weights["encoder_moved"])
    encoder = _train(job, job.task.wording, 0.0, 1e-2)
    assert not any(encoder["weights_moved"])
    assert all(encoder["encoder_moved"])
    assert len({both["losses"], weights["losses"], encoder["losses"]}) == 3


def test_without_slots_it_equals_pet_step_by_step(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "WSC")
    wording = job.own.wording("manual_0")
    pet = _train(job, wording, 1e-2, None)
    joint = _train(job, wording, 1e-2, 1e-2)
    assert joint["losses"] == pet["losses"]
    for one, other in zip(joint["weights"], pet["weights"], strict=True):
        assert torch.equal(one, other)


def test_its_steps_are_those_of_a_plain_loop(job_of, tiny_masked) -> None:
    """P itself and the weights, by PyTorch's optimizers, row by row as the model was written."""
    job = job_of(tiny_masked, "BoolQ", encoder="none", eval_every=0)
    found = _train(job, job.task.wording, 1e-2, 2e-2)
    config, asked, order = found["config"], found["asked"], found["order"]
    words = [token for [token] in asked.bound.tokens]
    bank = build_bank(job, [asked], config, None)
    network = job.backbone.load_model().requires_grad_(True)
    parameters = list(network.parameters())
    of_weights = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ],
        eps=SETTINGS.epsilon,
    )
    of_prompts = torch.optim.Adam(bank.parameters())
    losses = []
    for step in range(STEPS):
        total = torch.zeros(())
        questions = order.chunk(step)
        for question in questions:
            row = question.rows[0]
            logits = _plain_logits(network, row, bank([0]))[row.targets[0]]
            scores = logits[words].log_softmax(-1)
            total = total - scores[row.label] / len(questions)
        total.backward()
        losses.append(float(total.detach()))
        for optimizer, peak in ((of_weights, 1e-2), (of_prompts, 2e-2)):
            rate = learning_rate(replace(config, lr=peak), step, STEPS, order.visits_per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
    assert_close(torch.tensor(found["losses"]), torch.tensor(losses), atol=1e-4, rtol=1e-4)
    assert_close(found["prompts"], bank([0]).detach(), atol=1e-4, rtol=1e-4)


def test_it_exports_no_prompt_and_says_so(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "COPA")
    [result] = METHODS["ptuning_joint"].run(job)
    [trial] = result.trials.values()
    assert len(trial["losses"]) == trial["steps"] == 4
    weights = sum(p.numel() for p in job.function.engine.lm.parameters())
    bank = build_bank(job, job.asked(), job.config.train, None)
    encoder = sum(p.numel() for p in bank.parameters())
    assert trial["trainable_parameters"] == weights + encoder
    assert set(result.test) == {"accuracy"}
    assert not list(job.output.rglob("*.safetensors"))
    assert any(note.startswith("ptuning_joint: no prompt is exported") for note in job.notes)


def test_a_pattern_without_slots_is_refused(job_of, tiny_causal) -> None:
    for method in ("ptuning", "ptuning_joint"):
        with pytest.raises(UserError, match="of COPA has no prompt slot to train"):
            job_of(tiny_causal, "COPA", pattern="manual_0", method=method)
