"""Training the weights themselves: as many records as prompts get, and the best state tested."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.parallel import Degrees, EncoderPlacement, Mesh, TuneSettings, World, tune
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.finetune import Finetuned, courses, finetune, values_of
from ptune_scale.train.problem import TaskProblem, asker_of
from ptune_scale.train.schedule import visit_budgets
from ptune_scale.train.selection import DevScore
from ptune_scale.train.trainable import FixedPrompts, TrainableEncoders, TrainedPrompts
from ptune_scale.train.trainer import Diverged, StepResult
from tests.tiny import bank_of

CONFIG = TrainConfig(max_steps=12, batch_size=6, tasks_per_batch=2, eval_every=3, lr=1e-2)
SOUTH = ("Italy", "Spain")
COUNTRIES = ("Norway", "Sweden", "Germany", *SOUTH)


def _task(backbone: Backbone, dev: int = 5) -> AskedTask:
    records = tuple(
        Record(str(i), {"a": f"{place} {i}"}, "south" if place in SOUTH else "north")
        for i, place in enumerate(COUNTRIES * 2)
    )
    words = Words({"north": ("Oslo",), "south": ("Rome",)})
    wording = Wording(Pattern.parse("{a} is in [P]*2 [Y]"), words)
    return AskedTask(Task("t", wording, Splits(records, records[:dev], ())), backbone.tokens, 0)


def _finetuned(
    backbone: Backbone, config: TrainConfig, *, dev: int = 5, encoders: bool = False
) -> tuple[Finetuned[int], list[StepResult], list[Tensor]]:
    """What came of it (a test counts how often it was made), the steps, and the prompts tested."""
    task, mesh = _task(backbone, dev), Mesh.build(World(), Degrees())
    function = tune(backbone, mesh, TuneSettings())
    problem = TaskProblem(asker_of(function, config, torch.zeros(1, 2, 32)), [task])
    [course] = courses(config, ["t"], [task.learn])
    source: Any = FixedPrompts(torch.zeros(1, 2, 32))
    if encoders:
        bank = bank_of(["t"], 2, 32, kind="mlp")
        placement = EncoderPlacement.build("replicated", mesh, 1)
        source = TrainedPrompts(TrainableEncoders(bank, placement, config), [0], config)
    tested: list[Tensor] = []
    steps: list[StepResult] = []

    def test(prompts: Tensor) -> int:
        tested.append(prompts.clone())
        return len(tested)

    def after_step(step: StepResult, score: DevScore | None) -> None:
        steps.append(step)
        values = values_of(step, score)
        assert values["train/loss"] == step.loss
        assert values.get("dev/score") == (score.main if score and score.count else None)

    try:
        found = finetune(function, course, problem, source, test, config, after_step)
    finally:
        function.close()
    return found, steps, tested


@pytest.mark.parametrize("shared", [1, 2, 3])
def test_a_task_is_shown_as_many_records_as_by_a_joint_run(shared: int, backbone: Backbone) -> None:
    learn = _task(backbone).learn
    config = replace(CONFIG, tasks_per_batch=shared, max_steps=30)
    made = courses(config, ["a", "b", "c"], [learn, learn[:4], learn[:7]])
    joint = [courses(replace(config, max_steps=0, max_epochs=1), [n], [learn])[0] for n in "abc"]
    budgets = visit_budgets(config, [course.order for course in made])
    size = config.batch_size // shared
    for course, visits in zip(made, budgets, strict=True):
        count = len(course.order.examples)
        # To within a step: chunks at the end of an epoch are smaller.
        per_visit = count / -(-count // size)
        assert course.records == pytest.approx(visits * per_visit, abs=config.batch_size)
        assert course.steps // course.eval_every >= visits // config.eval_every // 2
    assert all(course.steps == 2 for course in joint)


def test_the_loss_falls_and_the_state_that_was_chosen_is_the_one_tested(backbone: Backbone) -> None:
    config = replace(CONFIG, max_steps=24, patience=0, schedule="constant")
    found, steps, tested = _finetuned(backbone, config)
    assert found.losses == tuple(step.loss for step in steps)
    assert sum(found.losses[-3:]) < 0.5 * sum(found.losses[:3])
    assert found.records == sum(step.records for step in steps)
    assert found.tested == len(tested) and 1 <= found.best_step <= len(steps)
    again, _, _ = _finetuned(backbone, config)
    assert again == found


def test_prompts_can_be_trained_beside_the_weights(backbone: Backbone) -> None:
    found, steps, tested = _finetuned(backbone, replace(CONFIG, patience=0), encoders=True)
    assert len(steps) == len(found.losses) > 3
    assert len(tested) > 1 and not torch.equal(tested[0], tested[-1])


def test_without_dev_records_the_last_state_is_tested_and_no_other(backbone: Backbone) -> None:
    found, steps, tested = _finetuned(backbone, replace(CONFIG, patience=1), dev=0)
    assert (found.tested, found.best_step, len(tested)) == (1, len(steps), 1)


def test_a_task_that_only_misses_stops_early(backbone: Backbone) -> None:
    strict = replace(CONFIG, selection="reference_strict", patience=2, max_steps=60, lr=1e-9)
    found, steps, _ = _finetuned(backbone, strict)
    [course] = courses(strict, ["t"], [_task(backbone).learn])
    assert len(steps) < course.steps and len(steps) % course.eval_every == 0


def test_a_loss_that_is_not_finite_ends_it(backbone: Backbone) -> None:
    wild = replace(CONFIG, lr=1e30, warmup=0.0)
    with pytest.raises(Diverged, match="fine-tuning has diverged; start again with a lower"):
        _finetuned(backbone, wild)
