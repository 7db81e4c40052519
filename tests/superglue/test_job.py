"""A task's job: trials that are made once, runs that go on, prompts that are exported."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import Stopped, StopSignal, World
from ptune_scale.superglue import report
from ptune_scale.superglue.export import TaskPrompt
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS

ALL = ("majority", "manual", "incontext", "ptuning")


class StopAfter(StopSignal):
    """A SIGTERM that arrives when it has been looked for so many times."""

    def __init__(self, checks: int) -> None:
        super().__init__(World())
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._note(signal.SIGTERM, None)
        super().check()


def _measured(job: TaskJob, methods: tuple[str, ...] = ALL) -> dict[str, Any]:
    """What results.json has of the task, without times."""
    results = [result for name in methods for result in METHODS[name](job)]
    task = json.loads(json.dumps(report.build_task(job, results)))
    for method in task["methods"].values():
        for trial in method["trials"].values():
            trial.pop("throughput", None)
    return task


def test_a_run_stopped_anywhere_goes_on_to_the_same_results(job_of, tiny_causal, tmp_path) -> None:
    flags = {"checkpoint_every": 1, "max_steps": 3, "eval_every": 1, "repetitions": 2}
    whole = _measured(job_of(tiny_causal, "COPA", output_dir=str(tmp_path / "whole"), **flags))
    assert len(whole["methods"]["ptuning"]["trials"]) == 2
    out = str(tmp_path / "stopped")
    stops = 0
    for _ in range(50):
        job = job_of(tiny_causal, "COPA", output_dir=out, resume_from=out, **flags)
        job.stop = StopAfter(8)
        try:
            measured = _measured(job)
        except Stopped:
            stops += 1
        else:
            break
    assert stops > 3  # in the middle of trials and between them
    assert measured == whole


def test_a_trial_is_made_again_only_for_other_settings(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB")
    made: list[int] = []

    def trial(number: int) -> dict[str, Any]:
        made.append(number)
        return {"dev": {}, "test": {"accuracy": number / 7}}

    first = job.kept("one", (1, "a"), lambda: trial(1))
    assert job.kept("one", (1, "a"), lambda: trial(2)) == first
    assert job.kept("two", (1, "a"), lambda: trial(3)) != first
    assert job.kept("one", (1, "b"), lambda: trial(4)) != first
    assert made == [1, 3, 4]
    job.identity = job.identity | {"dtype": "bfloat16"}
    job.kept("one", (1, "b"), lambda: trial(5))
    assert made == [1, 3, 4, 5]


@pytest.mark.parametrize("task", ["BoolQ", "COPA", "WSC"])
@pytest.mark.parametrize("model", ["tiny_causal", "tiny_masked"])
def test_an_exported_prompt_answers_as_the_live_one(model, task, job_of, tmp_path, request) -> None:
    directory = request.getfixturevalue(model)
    job = job_of(directory, task, num_slots=2, lr=0.05, max_length=32)
    (result,) = METHODS["ptuning"](job)
    ((name, trial),) = result.trials.items()
    prompt = TaskPrompt.load(job.output_dir / name / "prompt")
    assert prompt.prompts.abs().max() > 0
    found = prompt.predict(job.test, load_backbone(str(directory)))
    assert list(found.labels) == trial["predictions"]
    if found.scores is None:
        assert list(found.texts) == trial["texts"]
    else:
        assert_close(found.scores, torch.tensor(trial["scores"]), rtol=1e-4, atol=1e-4)


def test_a_prompt_is_refused_by_another_model(job_of, tiny_causal, tiny_masked) -> None:
    job = job_of(tiny_causal, "CB", max_steps=1)
    METHODS["ptuning"](job)
    prompt = TaskPrompt.load(job.output_dir / "ptuning-seed42" / "prompt")
    with pytest.raises(UserError, match="trained with another model"):
        prompt.predict(job.test, load_backbone(str(tiny_masked)))


def test_a_damaged_prompt_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompt.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        TaskPrompt.load(tmp_path)


@pytest.mark.parametrize("model", ["tiny_causal", "tiny_masked"])
def test_rows_are_no_longer_than_the_model_takes(model, job_of, request) -> None:
    job = job_of(request.getfixturevalue(model), "BoolQ", max_length=1000)
    job.test[0] = replace(job.test[0], passage="cat " * 400)
    problem = job.problem(job.encoder(job.task.patterns["manual_0"]))
    assert max(len(row.ids) for row in problem.encoder.encode(job.test, "evaluate").rows) == 256
    assert len(problem.predict(job.test, job.no_prompts).labels) == len(job.test)


def test_prompts_of_another_question_are_not_taken_for_this_ones(job_of, tiny_causal) -> None:
    def trained(**more: Any) -> dict[str, Any]:
        job = job_of(tiny_causal, "CB", method="ptuning", **more)
        return METHODS["ptuning"](job)[0].trials["ptuning-seed42"]

    first = trained(prompt_start="mean_word")
    other = trained(prompt_start="random")
    assert other["losses"] != first["losses"]
    # What saves memory alone changes nothing, so nothing is trained again.
    again = trained(prompt_start="random", rows_per_forward=1, eval_batch_size=2)
    assert again == other
    assert trained(prompt_start="mean_word")["losses"] == first["losses"]


def test_a_damaged_trial_is_made_again(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB")
    [first, *_] = METHODS["manual"](job)
    for path in (job.output_dir / "trials").iterdir():
        path.write_text("{")
    [second, *_] = METHODS["manual"](job)
    assert second.test == first.test
