"""Models that label records for each other never see those records' labels, and repeat nothing."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from ptune_scale.parallel import Stopped, StopSignal, World
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS

FLAGS = {"method": "ipet", "generations": 1, "eval_every": 0}


def _with_patterns(job: TaskJob, *names: str) -> TaskJob:
    """The job with some of its task's patterns, to be quicker."""
    patterns = {name: job.task.patterns[name] for name in names}
    return replace(job, task=replace(job.task, patterns=patterns))


def _trial(job: TaskJob, name: str) -> dict[str, Any]:
    return json.loads((job.output_dir / "trials" / f"{name}.json").read_text())


def test_labels_of_unlabeled_records_make_no_difference(job_of, tiny_causal, tmp_path) -> None:
    job = _with_patterns(job_of(tiny_causal, "BoolQ", **FLAGS), "manual_0")
    [expected] = METHODS["ipet"](job)
    other = job_of(tiny_causal, "BoolQ", output_dir=str(tmp_path / "other"), **FLAGS)
    other = _with_patterns(other, "manual_0")
    other.unlabeled = [
        replace(record, label=None if number % 2 else 1 - record.label)
        for number, record in enumerate(other.unlabeled)
    ]
    [found] = METHODS["ipet"](other)
    [one], [two] = expected.trials.values(), found.trials.values()
    assert one["scores"] == two["scores"]
    assert one["added"] == two["added"]
    assert one["added"]["manual_0"]


def test_models_are_taught_by_the_others_and_the_last_ones_are_averaged(
    job_of, tiny_causal
) -> None:
    patterns = ("manual_0", "manual_2")
    # Of two training records one has each label; with a growth of 5, 4 more are added of each.
    job = job_of(tiny_causal, "BoolQ", train_records=2, **FLAGS)
    job = _with_patterns(job, *patterns)
    [result] = METHODS["ipet"](job)
    [trial] = result.trials.values()
    for name, other in (patterns, patterns[::-1]):
        said = torch.tensor(_trial(job, f"ipet-seed42-generation0-{other}")["unlabeled"])
        sure, labels = said.softmax(-1).max(-1)
        ordered = sorted(range(8), key=lambda index, sure=sure: -float(sure[index]))
        chosen = [[index for index in ordered if labels[index] == label][:4] for label in (0, 1)]
        expected = sorted([index, label] for label in (0, 1) for index in chosen[label])
        assert sorted(trial["added"][name]) == expected
    assert trial["added"]["manual_0"] != trial["added"]["manual_2"]
    last = [_trial(job, f"ipet-seed42-generation1-{name}") for name in patterns]
    mean = sum(torch.tensor(each["test_scores"]).softmax(-1) for each in last) / len(last)
    assert_close(torch.tensor(trial["scores"]).exp(), mean, atol=1e-5, rtol=1e-5)
    right = sum(
        int(label) == record.label for label, record in zip(mean.argmax(-1), job.test, strict=True)
    )
    assert result.test["accuracy"] == right / len(job.test)


def test_a_stopped_run_goes_on_with_the_next_model(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB", **FLAGS)

    class StopsInTheSecondGeneration(StopSignal):
        def check(self) -> None:
            if (job.output_dir / "trials").is_dir():
                raise Stopped(2)

    job.stop = StopsInTheSecondGeneration(World())
    with pytest.raises(Stopped):
        METHODS["ipet"](job)
    [kept] = (job.output_dir / "trials").iterdir()
    first = kept.read_bytes()
    [result] = METHODS["ipet"](job_of(tiny_causal, "CB", **FLAGS))
    assert kept.read_bytes() == first
    assert set(result.test) == {"accuracy", "f1_macro"}


def test_what_it_is_not_made_for_is_said(job_of, tiny_causal) -> None:
    for task in ("COPA", "WSC"):
        job = job_of(tiny_causal, task, **FLAGS)
        assert METHODS["ipet"](job) == []
        assert f"ipet: left out, since no words stand for the labels of {task}" in job.notes
    job = job_of(tiny_causal, "CB", **FLAGS)  # four of its five patterns end in a text
    METHODS["ipet"](job)
    assert "ipet: only manual_4 fits the model, so that it labels for itself" in job.notes
