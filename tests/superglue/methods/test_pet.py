"""Fine-tuning on manual prompts learns, spares the frozen backbone, and is not done twice."""

from dataclasses import replace

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.parallel import Stopped, StopSignal, World
from ptune_scale.superglue.check import check
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS


class StopsAfter(StopSignal):
    """A stop signal that comes after so many looks at it."""

    def __init__(self, looks: int) -> None:
        super().__init__(World())
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise Stopped(2)


def _with_patterns(job: TaskJob, *names: str) -> TaskJob:
    """The job with some of its task's patterns, to be quicker."""
    manual = {name: job.task.manual[name] for name in names}
    return replace(job, tasks=[replace(job.task, manual=manual)])


@pytest.mark.parametrize(
    ("model", "task", "pattern"),
    [
        ("tiny_causal", "COPA", "manual_0"),
        ("tiny_causal", "WSC", "manual_0"),
        ("tiny_masked", "CB", "manual_2"),
    ],
)
def test_the_loss_falls_and_the_frozen_weights_stay(model, task, pattern, job_of, request) -> None:
    directory = request.getfixturevalue(model)
    files = {path: path.read_bytes() for path in directory.iterdir()}
    job = job_of(directory, task, max_steps=20, backbone_lr=1e-2, eval_every=0)
    frozen = job.function.engine.lm
    before = [parameter.detach().clone() for parameter in frozen.parameters()]
    mean, _ = METHODS["pet"].run(_with_patterns(job, pattern))
    [trial] = mean.trials.values()
    assert sum(trial["losses"][-3:]) < 0.5 * sum(trial["losses"][:3])
    assert len(trial["losses"]) == trial["steps"] >= trial["best_step"] > 0
    assert trial["trainable_parameters"] == sum(p.numel() for p in frozen.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, frozen.parameters(), strict=True))
    assert all(not p.requires_grad and p.grad is None for p in frozen.parameters())
    assert files == {path: path.read_bytes() for path in directory.iterdir()}


def test_one_result_is_the_mean_over_prompts_the_other_the_best_of_them(
    job_of, tiny_masked
) -> None:
    job = job_of(tiny_masked, "CB", repetitions=2, max_steps=1)
    mean, best = METHODS["pet"].run(_with_patterns(job, "manual_0", "manual_2"))
    assert len(mean.trials) == 4
    assert len({tuple(trial["losses"]) for trial in mean.trials.values()}) == 4

    def accuracy(pattern: str, part: str) -> float:
        trials = [mean.trials[f"pet-{pattern}-seed{seed}"] for seed in (42, 43)]
        return sum(trial[part]["accuracy"] for trial in trials) / 2

    one, other = (accuracy(name, "test") for name in ("manual_0", "manual_2"))
    assert mean.test["accuracy"] == pytest.approx((one + other) / 2)
    assert mean.deviation["accuracy"] == pytest.approx(abs(one - other) / 2**0.5)
    # On dev it is the other way round, so that it shows which of them decides.
    assert one > other
    assert accuracy("manual_0", "dev") < accuracy("manual_2", "dev")
    assert best.test["accuracy"] == one
    assert "best on val itself" in best.description


def test_a_stopped_run_goes_on_with_the_next_prompt(job_of, tiny_causal) -> None:
    flags = {"max_steps": 2, "eval_every": 0}
    job = job_of(tiny_causal, "COPA", **flags)
    # Each training looks once a step, and once at each batch of dev and test.
    stopped = replace(job, site=replace(job.site, stop=StopsAfter(2 + 2 + 1)))
    with pytest.raises(Stopped):
        METHODS["pet"].run(stopped)
    [kept] = (job.output / "trials").iterdir()
    first = kept.read_bytes()
    mean, _ = METHODS["pet"].run(job_of(tiny_causal, "COPA", **flags))
    # What is measured in seconds would differ if it were trained again.
    assert kept.name == "pet-manual_0-seed42.json"
    assert kept.read_bytes() == first
    assert [len(trial["losses"]) for trial in mean.trials.values()] == [2, 2]


def test_other_settings_are_trained_anew_but_other_methods_change_nothing(
    job_of, tiny_causal
) -> None:
    def seconds(**flags: object) -> float:
        job = _with_patterns(job_of(tiny_causal, "BoolQ", max_steps=1, **flags), "manual_0")
        mean, _ = METHODS["pet"].run(job)
        return mean.trials["pet-manual_0-seed42"]["throughput"]["seconds"]

    first = seconds()
    assert seconds(method="pet,ft", generations=3) == first
    assert seconds(backbone_lr=1e-3) != first


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.tunes_backbone])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tensor_parallel": 2, "num_gpus": 2}, "leave out --tensor_parallel"),
        ({"pipeline_parallel": 2, "num_gpus": 2}, "leave out --tensor_parallel"),
        ({"weight_bits": "8"}, "rounded weights cannot train"),
    ],
)
def test_what_cannot_train_is_refused_before_anything_is_loaded(
    method, flags, message, tiny_causal, tiny_tasks, tmp_path
) -> None:
    asked = {"model": str(tiny_causal), "data_dir": str(tiny_tasks), "tasks": "CB", **flags}
    with pytest.raises(UserError, match=message):
        check(
            SuperglueConfig.from_flags(
                {**asked, "method": method, "output_dir": str(tmp_path / "out")}
            )
        )
