"""Answers of each kind, against plain computations that are written out here."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import GenerationConfig

from ptune_scale.superglue.question import questions_of
from ptune_scale.superglue.row import Row
from ptune_scale.superglue.tasks.wsc import refers

MODELS = ["tiny_causal", "tiny_masked"]


def _setting(job_of, model, task):  # noqa: ANN001, ANN202
    """A job, a problem with tuned prompts, such prompts, and the network as transformers has it."""
    # Small batches, so that answers have to find their way back to their questions.
    job = job_of(model, task, eval_batch_size=5)
    problem = job.problem(job.encoder(job.pattern()))
    shape = (1, problem.encoder.pattern.num_slots, job.backbone.hidden_size)
    prompts = 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    return job, problem, prompts, job.backbone.load_model().requires_grad_(False)


def _rows(problem, records) -> list[Row]:  # noqa: ANN001
    return [
        row
        for question in questions_of(problem.encoder.encode(records, "evaluate"))
        for row in question.rows
    ]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("task", ["BoolQ", "CB"])
def test_a_label_is_the_likeliest_of_the_words(model, task, job_of, plain_logits, request) -> None:
    setting = _setting(job_of, request.getfixturevalue(model), task)
    job, problem, prompts, network = setting
    found = problem.predict(job.test, prompts)
    words = list(problem.encoder.word_tokens)
    logits = torch.stack(
        [plain_logits(network, r, prompts)[r.targets[0]] for r in _rows(problem, job.test)]
    )
    assert len(set(found.labels)) > 1
    assert found.labels == tuple(logits[:, words].argmax(-1).tolist())
    assert_close(found.scores, logits.log_softmax(-1)[:, words], rtol=1e-4, atol=1e-4)


def test_a_causal_choice_is_scored_by_the_sum_of_its_tokens(
    job_of, tiny_causal, plain_logits
) -> None:
    job, problem, prompts, network = _setting(job_of, tiny_causal, "COPA")
    found = problem.predict(job.test, prompts)
    sums = []
    for row in _rows(problem, job.test):
        scores = plain_logits(network, row, prompts).log_softmax(-1)
        sums.append(sum(scores[t, a] for t, a in zip(row.targets, row.answers, strict=True)))
    expected = torch.stack(sums).view(-1, 2)
    assert_close(found.scores, expected, rtol=1e-4, atol=1e-4)
    assert found.labels == tuple(expected.argmax(-1).tolist())


def test_masks_of_a_choice_are_filled_one_by_one_the_surest_first(
    job_of, tiny_masked, plain_logits
) -> None:
    job, problem, prompts, network = _setting(job_of, tiny_masked, "COPA")
    found = problem.predict(job.test, prompts)
    totals, orders = [], set()
    for row in _rows(problem, job.test):
        ids, left, total = list(row.ids), dict(zip(row.targets, row.answers, strict=True)), 0.0
        order = []
        while left:
            now = replace(row, ids=tuple(ids))
            scores = plain_logits(network, now, prompts).log_softmax(-1)
            surest = max(left, key=lambda place: float(scores[place, left[place]]))
            total += float(scores[surest, left[surest]])
            ids[surest] = left.pop(surest)
            order.append(surest)
        totals.append(total)
        orders.add(order == sorted(order))
    assert False in orders  # not simply from left to right
    expected = torch.tensor(totals).view(-1, 2)
    assert_close(found.scores, expected, rtol=1e-4, atol=1e-4)
    assert found.labels == tuple(expected.argmax(-1).tolist())


def test_a_causal_model_writes_what_generate_does(job_of, tiny_causal) -> None:
    job = job_of(tiny_causal, "WSC", eval_batch_size=3)
    problem = job.problem(job.encoder(job.task.patterns["manual_0"]))
    found = problem.predict(job.test, job.no_prompts)
    network, tokenizer = job.backbone.load_model(), job.backbone.tokens.tokenizer
    assert len({row.decode for row in _rows(problem, job.test)}) > 1
    for row, record, text, label in zip(
        _rows(problem, job.test), job.test, found.texts, found.labels, strict=True
    ):
        # Nothing ends the text early: without an end token, it has as many as the span.
        config = GenerationConfig(max_new_tokens=row.decode, do_sample=False, pad_token_id=0)
        written = network.generate(torch.tensor([row.ids]), generation_config=config)
        assert text == tokenizer.decode(written[0, len(row.ids) :])
        assert label == refers(text, record)


def test_a_masked_model_writes_its_surest_token_first(job_of, tiny_masked, plain_logits) -> None:
    job, problem, prompts, network = _setting(job_of, tiny_masked, "WSC")
    found = problem.predict(job.test, prompts)
    tokens = job.backbone.tokens
    for row, record, text, label in zip(
        _rows(problem, job.test), job.test, found.texts, found.labels, strict=True
    ):
        ids, left = list(row.ids), set(row.targets)
        while left:
            now = replace(row, ids=tuple(ids))
            best = plain_logits(network, now, prompts).softmax(-1).max(-1)
            surest = max(sorted(left), key=lambda place: float(best.values[place]))
            ids[surest] = int(best.indices[surest])
            left.remove(surest)
        written = [ids[place] for place in row.targets if ids[place] != tokens.placeholder]
        assert text == tokens.tokenizer.decode(written)
        assert label == refers(text, record)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("task", ["CB", "COPA", "WSC"])
def test_answers_do_not_depend_on_how_rows_are_batched(model, task, job_of, request) -> None:
    found = []
    for number, (rows, tokens) in enumerate(((1, 0), (64, 0), (64, 100))):
        job = job_of(
            request.getfixturevalue(model), task, eval_batch_size=rows, eval_batch_tokens=tokens
        )
        problem = job.problem(job.encoder(job.pattern()))
        prompts = torch.ones(1, problem.encoder.pattern.num_slots, job.backbone.hidden_size)
        batches: list[int] = []
        problem.predictor.after_batch = batches.append
        found.append(problem.predict(job.test, prompts))
        assert max(batches) == 1 if number == 0 else max(batches) > 1
    assert found[0].labels == found[1].labels == found[2].labels
    assert found[0].texts == found[1].texts == found[2].texts
