"""What a job is going to compute: steps and evaluations, in tokens of rows like its own."""

from pathlib import Path
from typing import Any

import pytest

from ptune_scale.backbone.shortcuts import DEFAULT, PLAIN
from ptune_scale.run.speed import Planned
from ptune_scale.tune.check import CheckedTasks, check
from ptune_scale.tune.config import OwnConfig
from ptune_scale.tune.planned import planned


@pytest.fixture
def checked(own, tiny_gpt2: Path):
    def of(*names: str, **flags: Any) -> CheckedTasks:
        given = {"task": own(*names)[1::2], "model": str(tiny_gpt2), "batch_size": 6, **flags}
        return check(OwnConfig.from_flags(given))

    return of


def plan(checked: CheckedTasks) -> Planned:
    return planned(checked.config, checked.tasks, checked.backbone)


def test_training_grows_with_steps_and_batch(checked):
    one = plan(checked("where", method="ptuning", max_steps=10, eval_every=5))
    assert 0 < len(one.rows) <= 6 and one.num_slots == 3
    mean = sum(len(row.ids) for row in one.rows) / len(one.rows)
    assert one.trained == int(10 * 6 * mean)
    more = plan(checked("where", method="ptuning", max_steps=20, eval_every=5))
    assert more.trained == pytest.approx(2 * one.trained, abs=1) and more.asked > one.asked
    by_tokens = plan(checked("where", method="ptuning", max_steps=10, batch_tokens=100))
    assert by_tokens.trained == 1000


def test_epochs_are_counted_where_steps_are_not(checked):
    found = checked("where", method="ptuning", max_steps=0, max_epochs=3)
    steps = 3 * -(-len(found.tasks[0].splits.learned) // 6)
    mean = sum(len(row.ids) for row in plan(found).rows) / len(plan(found).rows)
    assert plan(found).trained == int(steps * 6 * mean)


def test_without_training_only_answers_are_counted(checked):
    found = plan(checked("where", method="manual"))
    assert found.trained == 0 < found.asked


def test_there_is_a_prompt_for_each_slot_of_the_rows(checked):
    # They are computed to find the fastest way, whatever method asks by them.
    for method in ("manual", "ptuning"):
        found = plan(checked("where", method=method))
        assert 0 <= max(max(row.slots) for row in found.rows) < found.num_slots


@pytest.mark.parametrize(("speed", "shortcuts"), [("auto", DEFAULT), ("plain", PLAIN)])
def test_the_flag_says_how_the_forward_pass_is_computed(speed, shortcuts, checked):
    assert checked("where", speed=speed).backbone.shortcuts == shortcuts
