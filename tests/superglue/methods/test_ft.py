"""Classification: a head with an output for each label, read at the right token, all trained."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from ptune_scale.backbone.classifier import NewHead
from ptune_scale.errors import UserError
from ptune_scale.parallel import TunedFunction, TuneSettings, tune
from ptune_scale.superglue.classification import (
    ClassificationEncoder,
    ClassificationProblem,
    Classifier,
)
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.question import questions_of

MODELS = ["tiny_causal", "tiny_masked"]


def _problem(job: TaskJob) -> tuple[TunedFunction, ClassificationProblem]:
    encoder = ClassificationEncoder(job.task, job.backbone.tokens, 128)
    head = NewHead(encoder.outputs, seed=3)
    function = tune(job.backbone, job.function.mesh, TuneSettings(), head=head)
    classifier = Classifier(function, encoder, batch_size=5)
    return function, ClassificationProblem(classifier, job.dev)


def _plain_outputs(job: TaskJob, function: TunedFunction, row: tuple[int, ...]) -> torch.Tensor:
    """What a row alone comes to by the model's own layers and the new head."""
    body = job.backbone.load_model().base_model
    with torch.no_grad():
        hidden = body(input_ids=torch.tensor([row])).last_hidden_state[0]
        place = 0 if job.backbone.kind == "masked" else -1
        return function.engine.lm.head(hidden[place])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("task", "outputs"), [("CB", 3), ("WSC", 2), ("COPA", 1)])
def test_it_reads_the_first_token_of_a_masked_model_and_the_last_of_a_causal_one(
    model, task, outputs, job_of, request
) -> None:
    job = job_of(request.getfixturevalue(model), task)
    function, problem = _problem(job)
    assert function.engine.lm.head.weight.shape == (outputs, 32)
    rows = problem.encoder.encode(job.test, "evaluate")
    assert len({len(row.ids) for row in rows.rows}) > 1  # some of each batch are padded
    found = problem.predict(job.test, job.no_prompts)
    plain = torch.stack([_plain_outputs(job, function, row.ids) for row in rows.rows])
    plain = plain.view(len(job.test), -1)
    assert plain.shape[1] == len(job.task.labels)
    assert_close(found.scores, plain.log_softmax(-1), atol=1e-4, rtol=1e-4)
    assert list(found.labels) == plain.argmax(-1).tolist()
    function.close()


@pytest.mark.parametrize("task", ["CB", "COPA"])
def test_the_loss_is_the_cross_entropy_of_the_label(task, job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, task)
    function, problem = _problem(job)
    rows = problem.encoder.encode(job.train, "train")
    batch, objective = problem.batch(questions_of(rows))
    plain = torch.stack([_plain_outputs(job, function, row.ids) for row in rows.rows])
    labels = torch.tensor([record.label for record in job.train])
    losses, _ = function.loss_and_gradient(batch, job.no_prompts, objective)
    expected = cross_entropy(plain.view(len(labels), -1), labels)
    assert_close(losses, expected.view(1), atol=1e-4, rtol=1e-4)
    function.close()


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_trains(model, job_of, request) -> None:
    job = job_of(request.getfixturevalue(model), "CB")
    function, problem = _problem(job)
    # A step without decay: what gets no gradient would move by decay alone.
    for group in function.engine.deepspeed_engine.optimizer.param_groups:
        group["weight_decay"] = 0.0
    named = dict(function.engine.lm.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    batch, objective = problem.batch(questions_of(problem.encoder.encode(job.train, "train")))
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
    [result] = METHODS["ft"](job)
    [trial] = result.trials.values()
    assert sum(trial["losses"][-3:]) < 0.5 * sum(trial["losses"][:3])
    assert set(result.test) >= {"accuracy"}


def test_the_new_head_depends_on_the_seed_alone(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "CB")
    heads = []
    for seed in (1, 1, 2):
        function = tune(job.backbone, job.function.mesh, TuneSettings(), head=NewHead(3, seed))
        heads.append(function.engine.lm.head.weight.detach().clone())
        function.close()
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_texts_are_joined_without_a_mask_or_a_prompt(word_piece, causal, job_of, tiny_masked):
    job = job_of(tiny_masked, "CB")
    for tokens, text in (
        (word_piece, "[CLS] The cat sat . [SEP] The dog ran . [SEP]"),
        (causal, "T he Ġcat Ġsat . Ċ T he Ġdog Ġran ."),
    ):
        encoder = ClassificationEncoder(job.task, tokens, 64)
        record = job.task.record(
            idx=(0,), label=1, premise="The cat sat.", hypothesis="The dog ran."
        )
        [row] = encoder.encode([record], "evaluate").rows
        assert " ".join(tokens.tokenizer.convert_ids_to_tokens(list(row.ids))) == text
        assert row.targets == ((0,) if tokens is word_piece else (len(row.ids) - 1,))


def test_training_records_of_one_label_are_noted(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "WSC", train_records=1, max_steps=1)
    METHODS["ft"](job)
    assert "ft: all training records are 'True'" in " ".join(job.notes)


def test_a_pattern_to_classify_has_no_target() -> None:
    for text in ("{premise} [Y]", "[P] {premise}"):
        with pytest.raises(UserError, match=r"leave out \[Y\] and \[P\]"):
            Pattern.untargeted(text)
