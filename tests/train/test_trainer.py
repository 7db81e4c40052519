"""Training on a tiny random model, in one process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.errors import UserError
from ptune_scale.prompt.kinds import EncoderSharing
from ptune_scale.train.config import Rule, TrainConfig
from ptune_scale.train.schedule import tasks_per_step, tokens_per_visit
from ptune_scale.train.trainer import Diverged, StepResult, Trainer
from ptune_scale.tune.config import OwnConfig

CONFIG = TrainConfig(
    max_steps=12, batch_size=4, tasks_per_batch=2, eval_every=3, lr=1e-2, warmup=0.0
)
MakeTrainer = Callable[..., Trainer]


def steps_of(run: Trainer) -> list[StepResult]:
    return [event for event in run.train() if isinstance(event, StepResult)]


@pytest.mark.parametrize("tokens", [0, 16])
def test_joint_run_with_own_encoders_equals_separate_runs(
    trainer: MakeTrainer, tokens: int
) -> None:
    joint = trainer(["A", "B"], replace(CONFIG, batch_tokens=tokens), "none")
    list(joint.train())
    alone = replace(CONFIG, batch_size=2, tasks_per_batch=1, batch_tokens=tokens // 2)
    for row, name in enumerate(["A", "B"]):
        separate = trainer([name], alone, "none")
        list(separate.train())
        torch.testing.assert_close(
            separate.bank([0])[0], joint.bank([row])[row], atol=1e-5, rtol=1e-4
        )


def go_on_from(first: Trainer, second: Trainer) -> Trainer:
    second.load_state_dict(first.state_dict())
    second.encoders.load_parts(first.encoders.parts().__getitem__)
    return second


@pytest.mark.parametrize(("sharing", "tokens"), [("all", 0), ("none", 0), ("all", 20)])
def test_resumed_equals_uninterrupted_to_the_bit(
    trainer: MakeTrainer, sharing: EncoderSharing, tokens: int
) -> None:
    config = replace(CONFIG, batch_tokens=tokens)
    whole, first, second = (trainer(["A", "B", "C"], config, sharing) for _ in range(3))
    list(whole.train())
    for _, _event in zip(range(7), first.train(), strict=False):
        pass
    list(go_on_from(first, second).train())
    assert second.losses == whole.losses
    assert torch.equal(second.selection.prompts, whole.selection.prompts)


def test_a_resumed_run_draws_the_dropout_of_an_uninterrupted_one(
    trainer: MakeTrainer, tiny_gpt2: Path
) -> None:
    noisy = load_backbone(str(tiny_gpt2), dropout=True)
    whole, first, second = (trainer(["A", "B"], CONFIG, backbone=noisy) for _ in range(3))
    losses = [step.loss for step in steps_of(whole)]
    events = first.train()
    while first.step < 5:
        next(events)
    go_on_from(first, second)
    torch.manual_seed(99)  # another process has another state
    assert [step.loss for step in steps_of(second)] == losses[5:]
    assert torch.equal(second.selection.prompts, whole.selection.prompts)
    quiet = trainer(["A", "B"], CONFIG)
    assert steps_of(quiet)[0].loss != pytest.approx(losses[0], abs=1e-3)


def test_steps_hold_as_many_records_as_fit_into_the_tokens(trainer: MakeTrainer) -> None:
    config = replace(CONFIG, batch_tokens=24, max_steps=0, max_epochs=4, patience=0)
    assert tasks_per_step(config, 3) == 2 and tokens_per_visit(config, 3) == 12
    run = trainer(["A", "B", "C"], config)
    assert run.records_in(run.budgets) == 4 * 3 * 9
    steps = steps_of(run)
    assert sum(step.records for step in steps) == run.records_in(run.visits) == 4 * 3 * 9
    assert max(step.tokens for step in steps) <= 24
    assert {step.records for step in steps} > {4}


def test_records_that_are_longer_than_the_tokens_of_a_step_come_one_by_one(
    trainer: MakeTrainer,
) -> None:
    steps = steps_of(trainer(["A", "B", "C"], replace(CONFIG, batch_tokens=1)))
    assert {step.records for step in steps} == {2} and len(steps) == 12


def test_few_tokens_in_an_evaluation_batch_change_no_score(trainer: MakeTrainer) -> None:
    outcomes = []
    for tokens in (0, 10):
        run = trainer(["A", "B"], replace(CONFIG, eval_batch_tokens=tokens))
        sizes, ask = [], run.function.ask

        def keep(batch, *given, sizes=sizes, ask=ask):
            sizes.append(batch.padded().ids.numel())
            return ask(batch, *given)

        run.function.ask = keep
        list(run.train())
        outcomes.append((run.losses, run.selection.best, run.selection.best_visit))
        assert (max(sizes) <= 10) == bool(tokens)
    assert outcomes[0] == outcomes[1]


def test_the_records_of_a_run_are_foreseen(trainer: MakeTrainer) -> None:
    config = replace(CONFIG, max_steps=0, max_epochs=2, patience=0)
    run = trainer(["A", "B"], config)
    assert run.records_in(run.budgets) == 36 and run.records_in(run.visits) == 0
    assert sum(step.records for step in steps_of(run)) == 36


def test_a_task_that_would_get_no_step_is_refused(trainer: MakeTrainer) -> None:
    with pytest.raises(UserError, match="--max_steps 1 is too few for 3 tasks"):
        trainer(["A", "B", "C"], replace(CONFIG, max_steps=1))


@pytest.mark.parametrize("rule", ["standard_error", "reference", "reference_strict"])
def test_without_dev_records_the_last_prompt_is_kept(trainer: MakeTrainer, rule: Rule) -> None:
    config = replace(CONFIG, selection=rule, patience=1, max_steps=10)
    run = trainer(["A"], config, dev=0)
    assert len(steps_of(run)) == 10
    assert run.selection.best_visit == [10]
    with torch.no_grad():
        assert torch.equal(run.selection.prompts, run.bank([0]))


def test_a_task_stops_early_and_leaves_its_share_of_a_step_to_others(
    trainer: MakeTrainer,
) -> None:
    run = trainer(["A", "B", "C"], replace(CONFIG, patience=1, max_steps=30), "none")
    run.selection.stopped[1] = True
    list(run.train())
    assert run.visits[1] == 0 and min(run.visits[0], run.visits[2]) > 0


@pytest.mark.parametrize("name", ["batch_tokens", "eval_batch_tokens"])
def test_a_negative_token_budget_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"--{name} must be 0 or more, got -1"):
        OwnConfig.from_flags({name: -1})


def test_training_lowers_the_loss_and_leaves_the_backbone_alone(
    trainer: MakeTrainer, backbone: Backbone
) -> None:
    lm = backbone.lm
    before = [p.clone() for p in lm.parameters()]
    config = TrainConfig(max_steps=60, batch_size=8, tasks_per_batch=1, patience=0, lr=1e-2)
    run = trainer(["A"], config)
    list(run.train())
    assert run.losses[-1] < 0.8 * run.losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, lm.parameters(), strict=True))
    assert all(p.grad is None for p in lm.parameters())
    held = {
        id(p) for o in run.encoders.optimizers.values() for g in o.param_groups for p in g["params"]
    }
    assert not held & {id(p) for p in lm.parameters()}


def test_a_loss_that_is_not_finite_changes_nothing(trainer: MakeTrainer) -> None:
    run = trainer(["A"], CONFIG)
    events = run.train()
    for _ in range(3):
        next(events)
    before = {name: tensor.clone() for name, tensor in run.bank.state_dict().items()}
    step, evaluate = run.step, run.function.loss_and_gradient
    run.function.loss_and_gradient = lambda *given: (evaluate(*given)[0], torch.tensor(torch.nan))
    with pytest.raises(Diverged, match=r"gradient .* is not finite .* start again with a lower"):
        list(events)
    assert run.step == step and run.is_whole
    assert all(torch.equal(before[name], now) for name, now in run.bank.state_dict().items())
