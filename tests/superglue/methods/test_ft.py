"""Classification: a head with an output for each label, read at the right token, all trained."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from ptune_scale.backbone.tuned import NewHead
from ptune_scale.parallel import TunedFunction, TuneSettings, tune
from ptune_scale.superglue.classification import Classes
from ptune_scale.superglue.job import TaskJob, shares
from ptune_scale.superglue.methods import METHODS
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Wording
from ptune_scale.train.problem import TaskProblem

MODELS = ["tiny_causal", "tiny_masked"]


def _classified(job: TaskJob) -> AskedTask:
    patterns = tuple(map(Pattern.untargeted, job.own.classify))
    wording = Wording(patterns[0], Classes(tuple(job.own.labels), patterns))
    return job.asked_by(wording, job.task.splits.train)


def _problem(job: TaskJob) -> tuple[TunedFunction, TaskProblem, AskedTask]:
    asked = _classified(job)
    head = NewHead(asked.wording.answer.outputs, seed=3)
    function = tune(job.backbone, job.site.mesh, TuneSettings(), head=head)
    return function, job.problem([asked], function), asked


def _plain_outputs(
    job: TaskJob, function: TunedFunction, questions: list[Question]
) -> torch.Tensor:
    """What each row alone comes to by the model's own layers and the new head, (M, L)."""
    body = job.backbone.load_model().base_model
    place = 0 if job.backbone.kind == "masked" else -1
    outputs = []
    with torch.no_grad():
        for row in (row for question in questions for row in question.rows):
            hidden = body(input_ids=torch.tensor([row.ids])).last_hidden_state[0]
            outputs.append(function.engine.lm.head(hidden[place]))
    return torch.stack(outputs).view(len(questions), -1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("task", "outputs"), [("CB", 3), ("WSC", 2), ("COPA", 1)])
def test_it_reads_the_first_token_of_a_masked_model_and_the_last_of_a_causal_one(
    model, task, outputs, job_of, request
) -> None:
    job = job_of(request.getfixturevalue(model), task, eval_batch_size=5)
    function, problem, asked = _problem(job)
    assert function.engine.lm.head.weight.shape == (outputs, 32)
    assert len({q.num_tokens for q in asked.test}) > 1  # some of each batch are padded
    found = problem.predict(asked.test, job.no_prompts)
    plain = _plain_outputs(job, function, asked.test)
    assert plain.shape[1] == len(job.own.labels)
    scores = torch.tensor(shares(found))
    assert_close(scores, plain.softmax(-1), atol=1e-4, rtol=1e-4)
    labels = list(job.own.labels)
    assert [labels.index(each.answer) for each in found] == plain.argmax(-1).tolist()
    function.close()


@pytest.mark.parametrize("task", ["CB", "COPA"])
def test_the_loss_is_the_cross_entropy_of_the_label(task, job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, task)
    function, problem, asked = _problem(job)
    [(batch, objective)] = problem.batches(asked.learn)
    plain = _plain_outputs(job, function, asked.learn)
    labels = [list(job.own.labels).index(r.answer) for r in job.task.splits.train]
    losses, _ = function.loss_and_gradient(batch, job.no_prompts, objective)
    assert_close(losses, cross_entropy(plain, torch.tensor(labels)).view(1), atol=1e-4, rtol=1e-4)
    function.close()


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_trains(model, job_of, request) -> None:
    job = job_of(request.getfixturevalue(model), "CB")
    function, problem, asked = _problem(job)
    # A step without decay: what gets no gradient would move by decay alone.
    for group in function.engine.deepspeed_engine.optimizer.param_groups:
        group["weight_decay"] = 0.0
    named = dict(function.engine.lm.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    [(batch, objective)] = problem.batches(asked.learn)
    function.loss_and_gradient(batch, job.no_prompts, objective)
    function.step(1e-2)
    assert function.num_parameters == sum(p.numel() for p in named.values())
    still = [name for name, old in before.items() if torch.equal(old, named[name])]
    assert not still
    assert not any("lm_head" in name or "predictions" in name for name in named)
    function.close()


@pytest.mark.parametrize(("model", "task"), [("tiny_causal", "COPA"), ("tiny_masked", "CB")])
def test_the_loss_falls(model, task, job_of, request) -> None:
    job = job_of(request.getfixturevalue(model), task, max_steps=30, backbone_lr=1e-2)
    [result] = METHODS["ft"].run(job)
    [trial] = result.trials.values()
    assert sum(trial["losses"][-3:]) < 0.5 * sum(trial["losses"][:3])
    assert set(result.test) >= {"accuracy"}


def test_the_new_head_depends_on_the_seed_alone(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB")
    heads = []
    for seed in (1, 1, 2):
        function = tune(job.backbone, job.site.mesh, TuneSettings(), head=NewHead(3, seed))
        heads.append(function.engine.lm.head.weight.detach().clone())
        function.close()
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_texts_are_joined_without_a_mask_or_a_prompt(
    job_of, tiny_masked, tiny_causal, written
) -> None:
    for model, start, end in (
        (tiny_masked, "[CLS] The", ". [SEP]"),
        (tiny_causal, "T he", "."),
    ):
        job = job_of(model, "CB")
        [row] = _classified(job).test[0].rows
        text = written(row, job.backbone.tokens)
        assert text.startswith(start) and text.endswith(end)
        assert (" [SEP] The" if model == tiny_masked else " Ċ T he") in text
        assert "[MASK]" not in text and "P0" not in text
        assert row.targets == ((0,) if model == tiny_masked else (len(row.ids) - 1,))


def test_training_records_of_one_label_are_noted(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "WSC", train_records=1, max_steps=1)
    METHODS["ft"].run(job)
    assert "ft: all training records are 'True'" in " ".join(job.notes)
