"""A task's job: trials that are made once, runs that go on, prompts that are exported."""

import json
import signal
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from ptune_scale.errors import UserError
from ptune_scale.parallel import Stopped, StopSignal, World
from ptune_scale.run.told import RUN_FILE
from ptune_scale.superglue import records_of
from ptune_scale.superglue.job import TaskJob, shares
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.report import Done
from ptune_scale.task.answers.words import Words
from ptune_scale.task.task import Wording
from ptune_scale.train import checkpoint
from ptune_scale.tune.report import prediction_lines
from ptune_scale.use.prompt import load_prompt

ALL = ("majority", "manual", "incontext", "ptuning")
TRIAL = "ptuning-seed42"


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


def _until_stopped_after(job: TaskJob, checks: int) -> TaskJob:
    return replace(job, site=replace(job.site, stop=StopAfter(checks)))


def _measured(job: TaskJob, methods: tuple[str, ...] = ALL) -> dict[str, Any]:
    """What results.json has of the task, without times."""
    results = [result for name in methods for result in METHODS[name].run(job)]
    task = json.loads(json.dumps(Done(job, results).summary))
    for method in task["methods"].values():
        for trial in method["trials"].values():
            for of_one_process in ("throughput", "text_tokens"):
                trial.pop(of_one_process, None)
    return task


def test_a_run_stopped_anywhere_goes_on_to_the_same_results(job_of, tiny_causal, tmp_path) -> None:
    flags = {"checkpoint_every": 1, "max_steps": 3, "eval_every": 1, "repetitions": 2}
    whole = _measured(job_of(tiny_causal, "COPA", output_dir=str(tmp_path / "whole"), **flags))
    assert len(whole["methods"]["ptuning"]["trials"]) == 2
    out = str(tmp_path / "stopped")
    stops = 0
    for _ in range(50):
        job = _until_stopped_after(job_of(tiny_causal, "COPA", output_dir=out, **flags), 8)
        try:
            measured = _measured(job)
        except Stopped:
            stops += 1
        else:
            break
    assert stops > 3  # in the middle of trials and between them
    assert measured == whole


def test_a_checkpoint_that_is_named_is_gone_on_from(job_of, tiny_causal, tmp_path) -> None:
    flags = {"checkpoint_every": 1, "eval_every": 1, "max_steps": 3}
    first = job_of(tiny_causal, "CB", output_dir=str(tmp_path / "first"), **flags)
    [expected] = METHODS["ptuning"].run(first)
    earlier = checkpoint.checkpoints(first.output / TRIAL / "checkpoint")[0]
    assert earlier.name == "step-000002"

    def gone_on(out: str, **more: Any) -> dict[str, Any]:
        changed = flags | {"output_dir": str(tmp_path / out), "resume_from": str(earlier)} | more
        [result] = METHODS["ptuning"].run(job_of(tiny_causal, "CB", **changed))
        return result.trials[TRIAL]

    trial = gone_on("second")
    assert trial["losses"] == expected.trials[TRIAL]["losses"]
    with pytest.raises(UserError, match=r"cannot resume from .*: lr was 0.001, is 0.5"):
        gone_on("third", lr=0.5)


def test_a_finished_trial_is_read_from_the_run_that_is_gone_on_with_elsewhere(
    job_of, tiny_causal, tmp_path
) -> None:
    first = job_of(tiny_causal, "CB", output_dir=str(tmp_path / "first"))
    [expected] = METHODS["ptuning"].run(first)
    (tmp_path / "first" / RUN_FILE).write_text("{}")
    flags = {"output_dir": str(tmp_path / "second"), "resume_from": str(tmp_path / "first")}
    second = job_of(tiny_causal, "CB", **flags)
    [found] = METHODS["ptuning"].run(second)
    assert found.trials == json.loads(json.dumps(expected.trials))
    assert not (second.output / TRIAL).exists()


def test_a_trial_is_made_again_only_for_another_question(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB")
    made: list[int] = []

    def kept(number: int, name: str, wording: Wording, *more: Any, **flags: Any) -> dict[str, Any]:
        def trial() -> dict[str, Any]:
            made.append(number)
            return {"dev": {}, "test": {"accuracy": number / 7}}

        return job.kept(name, [job.asked_by(wording)], trial, *more, **flags)

    pattern, words = job.task.wording.pattern, {"entailment": ("true",), "neutral": ("so",)}
    first = kept(1, "one", job.task.wording, "a")
    assert kept(2, "one", job.task.wording, "a") == first
    assert kept(3, "two", job.task.wording, "a") != first
    assert kept(4, "one", job.task.wording, "b") != first
    # The same text with another word for a label is another question.
    kept(5, "one", Wording(pattern, Words({**job.task.wording.answer.words, **words})), "b")
    assert made == [1, 3, 4, 5]
    job.config = replace(job.config, train=replace(job.config.train, lr=0.5))
    kept(6, "two", job.task.wording, "a")
    kept(7, "three", job.task.wording, trains=False)
    job.config = replace(job.config, train=replace(job.config.train, lr=0.6))
    kept(8, "three", job.task.wording, trains=False)
    job.backbone = job_of(tiny_causal, "CB", dtype="bfloat16").backbone
    kept(9, "three", job.task.wording, trains=False)
    assert made == [1, 3, 4, 5, 6, 7, 9]


def test_a_damaged_trial_is_made_again(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB")
    [first, *_] = METHODS["manual"].run(job)
    for path, text in zip((job.output / "trials").iterdir(), ("{", "[]"), strict=False):
        path.write_text(text)
    for number, path in enumerate((job.output / "trials").iterdir()):
        if number > 1:  # whole JSON, of which somebody has changed a number
            saved = json.loads(path.read_text())
            path.write_text(json.dumps({**saved, "predictions": [None]}))
    [second, *_] = METHODS["manual"].run(job)
    assert second.test == first.test


def test_prompts_of_another_question_are_not_taken_for_this_ones(job_of, tiny_causal) -> None:
    def trained(**more: Any) -> dict[str, Any]:
        job = job_of(tiny_causal, "CB", method="ptuning", **more)
        return METHODS["ptuning"].run(job)[0].trials[TRIAL]

    first = trained(prompt_start="mean_word")
    other = trained(prompt_start="random")
    assert other["losses"] != first["losses"]
    # What saves memory alone changes nothing, so nothing is trained again.
    again = trained(prompt_start="random", rows_per_forward=1, eval_batch_size=2)
    assert again == json.loads(json.dumps(other))
    assert trained(prompt_start="mean_word")["losses"] == first["losses"]


@pytest.mark.parametrize("task", ["BoolQ", "COPA", "WSC"])
@pytest.mark.parametrize("model", ["tiny_causal", "tiny_masked"])
def test_an_exported_prompt_answers_as_the_live_one(
    model, task, job_of, tiny_tasks, request
) -> None:
    directory = request.getfixturevalue(model)
    job = job_of(directory, task, num_slots=2, lr=0.05, max_length=32)
    (result,) = METHODS["ptuning"].run(job)
    (trial,) = result.trials.values()
    prompt = load_prompt(job.output / TRIAL / "prompt")
    lines = (tiny_tasks / task / "val.jsonl").read_text().splitlines()
    raw = [json.loads(line) for line in lines]
    # All but WSC can be asked by the objects of the file themselves.
    objects = [r for o in raw for r in records_of(job.own, o)] if task == "WSC" else raw
    found = prompt.predict(objects)
    assert [list(job.own.labels).index(each.answer) for each in found] == trial["predictions"]
    if task == "WSC":
        assert [each.text for each in found] == trial["texts"]
    else:
        expected = torch.tensor(trial["scores"])
        assert_close(torch.tensor(shares(found)), expected, rtol=1e-4, atol=1e-4)


def test_prompts_of_all_tasks_are_trained_in_one_job(job_of, tiny_causal, tmp_path) -> None:
    flags = {"joint": "on", "tasks_per_batch": 2, "max_steps": 6, "encoder_sharing": "none"}
    results = {}
    for tasks in ("BoolQ,COPA,WSC", "COPA,BoolQ,WSC"):
        job = job_of(tiny_causal, tasks, output_dir=str(tmp_path / "out"), **flags)
        [result] = METHODS["ptuning"].run(job)
        assert "together with 2 other tasks" in result.description
        results[job.task.name] = result.trials[TRIAL]
    one, other = results["BoolQ"], results["COPA"]
    assert one["steps"] == other["steps"] == 6
    assert len(one["predictions"]) == len(other["predictions"]) == 8
    prompt = load_prompt(tmp_path / "out" / "joint" / TRIAL / "prompt")
    assert sorted(each.name for each in prompt.export.tasks) == ["BoolQ", "COPA", "WSC"]
    records = job.task.splits.test
    found = prompt.predict(records, "COPA")
    assert [int(each.answer) for each in found] == other["predictions"]


def test_rows_are_no_longer_than_the_model_takes(job_of, tiny_causal, tiny_masked) -> None:
    for model in (tiny_causal, tiny_masked):
        job = job_of(model, "BoolQ", max_length=1000)
        long = replace(job.task.splits.test[0], fields={"passage": "cat " * 400, "question": "is"})
        asked = job.asked_by(job.task.manual["manual_0"])
        [question] = asked.questions([long], "evaluate")
        assert question.num_tokens == 256


def test_results_name_metrics_as_superglue_does(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB")
    task = _measured(job, ("majority", "manual"))
    assert task["deciding"] == ["accuracy", "f1_macro"]
    assert set(task["methods"]["manual"]["dev"]) == {"accuracy", "f1_macro"}
    lines = prediction_lines(job, Done(job, METHODS["majority"].run(job)).predictions)
    assert len(lines) == 8 and {line["answer"] for line in lines} == {"entailment"}
    assert sum(line["correct"] for line in lines) / 8 == pytest.approx(
        task["methods"]["majority"]["test"]["accuracy"]
    )
