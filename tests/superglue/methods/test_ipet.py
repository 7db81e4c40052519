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
from ptune_scale.superglue.methods.ipet import label_surest, vote
from ptune_scale.task.record import Record

FLAGS = {"method": "ipet", "generations": 1, "eval_every": 0}
RECORDS = [Record(str(number), {}, None) for number in range(6)]
PROBABILITIES = torch.tensor(
    [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.95, 0.05], [0.45, 0.55], [0.7, 0.3]]
)


def _with_patterns(job: TaskJob, *names: str) -> TaskJob:
    """The job with some of its task's patterns, to be quicker."""
    manual = {name: job.task.manual[name] for name in names}
    return replace(job, tasks=[replace(job.task, manual=manual)])


def _trial(job: TaskJob, name: str) -> dict[str, Any]:
    return json.loads((job.output / "trials" / f"{name}.json").read_text())


def test_a_vote_is_the_mean_of_probabilities() -> None:
    one, other = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.2, 0.8]])
    assert_close(vote([one, other]), torch.tensor([[0.55, 0.45]]))


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ({"no": 2, "yes": 1}, [("0", "no"), ("2", "yes"), ("3", "no")]),
        ({"no": 0, "yes": 5}, [("2", "yes"), ("4", "yes")]),  # no more are thought to have it
        ({"no": 0, "yes": 0}, []),
    ],
)
def test_the_surest_of_each_label_are_taken_in_the_order_of_the_records(counts, chosen) -> None:
    found = label_surest(RECORDS, PROBABILITIES, counts)
    assert [(record.id, record.answer) for record in found] == chosen
    assert all(record.answer is None for record in RECORDS)


def test_labels_of_unlabeled_records_make_no_difference(job_of, tiny_causal, tmp_path) -> None:
    job = _with_patterns(job_of(tiny_causal, "BoolQ", **FLAGS), "manual_0")
    [expected] = METHODS["ipet"].run(job)
    other = job_of(tiny_causal, "BoolQ", output_dir=str(tmp_path / "other"), **FLAGS)
    other = _with_patterns(other, "manual_0")
    assert {record.answer for record in other.task.splits.unlabeled} == {None}
    unlabeled = tuple(replace(r, answer="True") for r in other.task.splits.unlabeled)
    splits = replace(other.task.splits, unlabeled=unlabeled)
    [found] = METHODS["ipet"].run(replace(other, tasks=[replace(other.task, splits=splits)]))
    [one], [two] = expected.trials.values(), found.trials.values()
    assert one["scores"] == two["scores"]
    assert one["added"] == two["added"]
    assert one["added"]["manual_0"]


def test_models_are_taught_by_the_others_and_the_last_ones_are_averaged(
    job_of, tiny_causal
) -> None:
    patterns = ("manual_0", "manual_2")
    # Of two training records one has each label; with a growth of 5, 4 more are added of each.
    job = _with_patterns(job_of(tiny_causal, "BoolQ", train_records=2, **FLAGS), *patterns)
    [result] = METHODS["ipet"].run(job)
    [trial] = result.trials.values()
    for name, other in (patterns, patterns[::-1]):
        said = torch.tensor(_trial(job, f"ipet-seed42-generation0-{other}")["unlabeled"])
        sure, labels = said.max(-1)
        ordered = sorted(range(8), key=lambda index, sure=sure: -float(sure[index]))
        chosen = [[index for index in ordered if labels[index] == label][:4] for label in (0, 1)]
        names = ("False", "True")
        expected = sorted([str(i), names[label]] for label in (0, 1) for i in chosen[label])
        assert sorted(trial["added"][name]) == expected
    assert trial["added"]["manual_0"] != trial["added"]["manual_2"]
    last = [_trial(job, f"ipet-seed42-generation1-{name}") for name in patterns]
    mean = sum(torch.tensor(each["test_scores"]) for each in last) / len(last)
    assert_close(torch.tensor(trial["scores"]), mean, atol=1e-5, rtol=1e-5)
    test = job.task.splits.test
    right = sum(
        names[int(label)] == record.answer
        for label, record in zip(mean.argmax(-1), test, strict=True)
    )
    assert result.test["accuracy"] == right / len(test)


def test_a_stopped_run_goes_on_with_the_next_model(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB", **FLAGS)

    class StopsInTheSecondGeneration(StopSignal):
        def check(self) -> None:
            if (job.output / "trials").is_dir():
                raise Stopped(2)

    stopped = replace(job, site=replace(job.site, stop=StopsInTheSecondGeneration(World())))
    with pytest.raises(Stopped):
        METHODS["ipet"].run(stopped)
    [kept] = (job.output / "trials").iterdir()
    first = kept.read_bytes()
    [result] = METHODS["ipet"].run(job_of(tiny_causal, "CB", **FLAGS))
    assert kept.read_bytes() == first
    assert set(result.test) == {"accuracy", "f1_macro"}


def test_what_it_is_not_made_for_is_said(job_of, tiny_causal) -> None:
    for task in ("COPA", "WSC"):
        job = job_of(tiny_causal, task, **FLAGS)
        assert METHODS["ipet"].run(job) == []
        assert f"ipet: left out, since no words stand for the labels of {task}" in job.notes
    job = job_of(tiny_causal, "CB", **FLAGS)  # four of its five patterns end in a text
    METHODS["ipet"].run(job)
    assert "ipet: only manual_4 fits the model, so that it labels for itself" in job.notes
