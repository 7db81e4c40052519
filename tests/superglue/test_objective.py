"""Losses and prompt gradients of each kind of answer, against plain ones of all logits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from ptune_scale.superglue.objective import objective_of
from ptune_scale.superglue.question import Question, collate_questions, questions_of
from ptune_scale.superglue.row import Row
from ptune_scale.superglue.row_encoder import RowEncoder

Logits = Callable[[Row], Tensor]


def _of_words(encoder: RowEncoder, question: Question, logits: Logits) -> Tensor:
    (row,) = question.rows
    (target,) = row.targets
    words = logits(row)[target, list(encoder.word_tokens)]
    return cross_entropy(words, torch.tensor(question.label))


def _of_row(row: Row, logits: Logits) -> Tensor:
    scores = logits(row).log_softmax(-1)
    asked = zip(row.targets, row.answers, row.answered, strict=True)
    return -torch.stack([scores[t, a] for t, a, is_asked in asked if is_asked]).mean()


def _of_span(encoder: RowEncoder, question: Question, logits: Logits) -> Tensor:
    (row,) = question.rows
    return _of_row(row, logits)


def _of_choice(encoder: RowEncoder, question: Question, logits: Logits) -> Tensor:
    losses = [_of_row(row, logits) for row in question.rows]
    return (1 + losses[question.label] - losses[1 - question.label]).clamp(min=0)


PLAIN = {"CB": _of_words, "COPA": _of_choice, "WSC": _of_span}


@pytest.mark.parametrize("rows_per_forward", [0, 3])
@pytest.mark.parametrize("task", PLAIN)
@pytest.mark.parametrize("model", ["tiny_causal", "tiny_masked"])
def test_loss_and_gradient_are_those_of_full_logits(
    model, task, rows_per_forward, job_of, plain_logits, request
) -> None:
    directory = request.getfixturevalue(model)
    job = job_of(directory, task, num_slots=2, rows_per_forward=rows_per_forward)
    encoder = job.encoder(job.pattern())
    records = job.task.training_records(job.train)
    questions = questions_of(encoder.encode(records, "train"))
    asked = collate_questions(questions, encoder.tokens.placeholder)
    # Rows of several lengths; in COPA and WSC some have fewer targets, or masks of no answer.
    assert asked.batch.is_padded
    assert asked.answered.all() == (task == "CB")
    generator = torch.Generator().manual_seed(1)
    shape = (1, encoder.pattern.num_slots, job.backbone.hidden_size)
    prompts = 0.5 * torch.randn(shape, generator=generator)
    objective = objective_of(job.task.answer, encoder.word_tokens, asked)
    losses, gradient = job.function.loss_and_gradient(asked.batch, prompts, objective)

    network = job.backbone.load_model().requires_grad_(False)
    leaf = prompts.clone().requires_grad_()
    expected = torch.stack(
        [
            PLAIN[task](encoder, question, lambda row: plain_logits(network, row, leaf))
            for question in questions
        ]
    ).mean()
    expected.backward()
    assert leaf.grad.abs().max() > 1e-3
    assert_close(losses, expected.detach().view(1), rtol=1e-4, atol=1e-5)
    assert_close(gradient, leaf.grad, rtol=1e-3, atol=1e-5)


def test_a_question_costs_the_same_whatever_else_is_in_the_batch(job_of, tiny_masked) -> None:
    job = job_of(tiny_masked, "COPA")
    encoder = job.encoder(job.pattern())
    questions = questions_of(encoder.encode(job.train, "train"))
    prompts = torch.ones(1, encoder.pattern.num_slots, job.backbone.hidden_size)

    def loss(part: list[Question]) -> Tensor:
        asked = collate_questions(part, encoder.tokens.placeholder)
        objective = objective_of("choices", (), asked)
        return job.function.loss_and_gradient(asked.batch, prompts, objective)[0]

    alone = torch.stack([loss([question]) for question in questions])
    assert alone.unique().numel() > 1
    assert_close(loss(questions), alone.mean(0), rtol=1e-4, atol=1e-5)
