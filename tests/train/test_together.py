"""Trainers that share the passes of a frozen model."""

from collections.abc import Callable

import pytest
import torch

from ptune_scale.backbone import Backbone
from ptune_scale.parallel import Unanswerable
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.together import step_together
from ptune_scale.train.trainer import Diverged, StepResult, Trainer
from tests.train.conftest import task

CONFIG = TrainConfig(max_steps=6, batch_size=3, tasks_per_batch=1, eval_every=3, lr=1e-2)


@pytest.fixture
def together(trainer: Callable[..., Trainer], backbone: Backbone) -> dict[int, Trainer]:
    """Two trainers of a task each, in rows 0 and 2."""
    found = {}
    for row, name in ((0, "A"), (2, "B")):
        found[row] = trainer([name], CONFIG)
        learn = AskedTask(task(name, 5), backbone.tokens, row).learn
        found[row].orders = [TaskOrder(name, learn, 3, CONFIG.seed)]
    return found


@pytest.fixture
def panels(backbone: Backbone) -> Panels:
    return Panels(
        [AskedTask(task(name, 5), backbone.tokens, row) for row, name in ((0, "A"), (2, "B"))]
    )


def steps_alone(trainer: Callable[..., Trainer], name: str, count: int) -> Trainer:
    run = trainer([name], CONFIG)
    for event in run.train():
        if isinstance(event, StepResult) and event.step == count:
            break
    return run


def test_each_steps_as_it_would_alone(
    together: dict[int, Trainer], panels: Panels, trainer: Callable[..., Trainer]
) -> None:
    function = together[0].function
    for _ in range(3):
        step_together(function, panels, together)
    for row, name in ((0, "A"), (2, "B")):
        alone = steps_alone(trainer, name, 3)
        assert together[row].losses == pytest.approx(alone.losses, abs=1e-5)
        torch.testing.assert_close(together[row].bank([0]), alone.bank([0]), atol=1e-5, rtol=1e-4)


def test_one_that_diverges_is_not_updated_and_does_not_stop_the_others(
    together: dict[int, Trainer], panels: Panels, trainer: Callable[..., Trainer]
) -> None:
    function = together[0].function
    real = function.loss_and_gradient

    def spoiled(batch, prompts, objective):
        """Rows of one task overflow, and with them those that are computed with them."""
        losses, gradient = real(batch, prompts, objective)
        return (losses, gradient * torch.nan) if 2 in batch.tasks else (losses, gradient)

    function.loss_and_gradient = spoiled
    before = together[2].bank([0]).detach().clone()
    found = step_together(function, panels, together)
    assert isinstance(found[2], Diverged) and together[2].step == 0
    assert torch.equal(together[2].bank([0]), before)
    assert isinstance(found[0], StepResult)
    alone = steps_alone(trainer, "A", 1)
    torch.testing.assert_close(together[0].bank([0]), alone.bank([0]), atol=1e-5, rtol=1e-4)


def test_one_that_the_model_cannot_be_asked_about_does_not_stop_the_others(
    together: dict[int, Trainer], panels: Panels
) -> None:
    function = together[0].function
    real = function.loss_and_gradient

    def refusing(batch, prompts, objective):
        if 2 in batch.tasks:
            raise Unanswerable("too long")
        return real(batch, prompts, objective)

    function.loss_and_gradient = refusing
    found = step_together(function, panels, together)
    assert isinstance(found[2], Unanswerable) and together[2].step == 0
    assert isinstance(found[0], StepResult) and together[0].step == 1
