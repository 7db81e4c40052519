"""What a prompt function finds, against the logits of the model that is behind it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ptune_scale.backbone import load_backbone
from ptune_scale.parallel import PromptFunction, single
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_ANSWER, Batch, Example, collate
from ptune_scale.task.objective import Vocabulary, mean_cross_entropy

ROWS = [
    Example(0, (0, 5, 9, 12), (0, -1, -1, -1), (1, 2, 3), (9, 12, 33)),
    Example(1, (7, 8, 0), (-1, -1, 1), (2,), (41,)),
    Example(0, (0, 6, 4), (1, -1, -1), (0, 2), (NO_ANSWER, 20)),
    Example(1, (30, 0), (-1, 0), (1,), (NO_ANSWER,)),
]
EVEN = list(range(0, 60, 2))


@pytest.fixture(scope="module", params=["llama", "bert"])
def function(request: pytest.FixtureRequest, small_model) -> PromptFunction:
    return single(load_backbone(str(small_model(request.param))).lm.prepare())


@pytest.fixture(scope="module")
def prompts() -> Tensor:
    return torch.randn(2, 2, 32, generator=torch.Generator().manual_seed(1))


def logits_of(function: PromptFunction, row: Example, prompts: Tensor) -> Tensor:
    """(K, V) at a row's own targets, computed alone."""
    return function.engine.lm(collate([row]), prompts)[0]


def test_log_probabilities_are_those_of_the_answers_and_zero_without(function, prompts) -> None:
    found = function.log_probabilities(collate(ROWS), prompts)
    assert found.shape == (4, 3)
    for number, row in enumerate(ROWS):
        shares = logits_of(function, row, prompts).log_softmax(-1)
        for place in range(3):
            answer = row.answers[place] if place < len(row.answers) else NO_ANSWER
            expected = 0.0 if answer == NO_ANSWER else float(shares[place, answer])
            assert float(found[number, place]) == pytest.approx(expected, abs=1e-5)


def test_each_target_s_answer_is_ranked_and_last_where_there_is_none(function, prompts) -> None:
    candidates = Candidates(65, {"all": None, "even": EVEN})
    found = function.ranks(collate(ROWS), prompts, candidates)
    for number, row in enumerate(ROWS):
        logits = logits_of(function, row, prompts)
        for place in range(3):
            answer = row.answers[place] if place < len(row.answers) else NO_ANSWER
            for column, words in enumerate((range(65), EVEN)):
                expected = 66
                if answer in words:
                    own = logits[place, answer]
                    expected = 1 + sum(bool(logits[place, word] > own) for word in words)
                assert int(found[number, place, column]) == expected


def test_the_mean_cross_entropy_is_over_the_answered_targets_of_a_row(function, prompts) -> None:
    batch = collate(ROWS)
    losses, gradient = function.loss_and_gradient(batch, prompts, mean_cross_entropy)
    leaf = prompts.clone().requires_grad_()
    expected = torch.zeros(2)
    for row, weight in zip(ROWS, batch.weights, strict=True):
        logits, answers = logits_of(function, row, leaf), torch.tensor(row.answers)
        if (answers >= 0).any():
            mean = F.cross_entropy(logits[answers >= 0], answers[answers >= 0])
            expected = expected.index_add(0, torch.tensor([row.task]), (mean * weight)[None])
    expected.sum().backward()
    torch.testing.assert_close(losses, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, leaf.grad, atol=1e-5, rtol=1e-4)


def test_a_question_reads_the_logits_in_the_order_of_the_rows(function, prompts) -> None:
    def difference(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
        picked = vocabulary.pick(logits[:, 0], torch.tensor([[3, 8]]).expand(len(batch), 2))
        return picked[:, 0] - picked[:, 1]

    found = function.ask(collate(ROWS), prompts, difference, ())
    expected = [logits_of(function, row, prompts)[0] for row in ROWS]
    expected = torch.stack([logits[3] - logits[8] for logits in expected])
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)


def test_a_step_s_dropout_depends_on_its_number_alone(small_model, prompts) -> None:
    function = single(load_backbone(str(small_model("gpt2")), dropout=True).lm)
    batch = collate(ROWS)

    def loss(step: int) -> Tensor:
        function.world.seed_noise(0, step)
        return function.loss_and_gradient(batch, prompts)[0]

    first, second = loss(1), loss(2)
    assert not torch.equal(first, second)
    function.top(batch, prompts, 3)
    torch.rand(5)
    assert torch.equal(loss(2), second)
    assert torch.equal(loss(1), first)
