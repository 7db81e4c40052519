"""Evaluation in batches: few tokens at a time, the same ranks in the same order."""

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.data.batch import Batch, Example
from ptune_scale.data.candidates import Candidates
from ptune_scale.evaluate import Score, all_ranks, macro
from ptune_scale.parallel import PromptFunction, single

CANDIDATES = Candidates(50, {"full_vocab": None, "few": range(0, 50, 3)})


def examples(count: int) -> list[Example]:
    """Examples of 3 to 20 tokens in no order of length."""
    generator = torch.Generator().manual_seed(5)
    made = []
    for row in range(count):
        words = torch.randint(0, 50, (1 + row * 7 % 18,), generator=generator).tolist()
        label = int(torch.randint(0, 50, (1,), generator=generator))
        slots = (0, *[-1] * len(words), 1)
        made.append(Example(row % 2, (0, *words, 0), slots, (len(words) + 1,), label))
    return made


class Recorder:
    """A prompt function that keeps the shape of each batch that it is asked for."""

    def __init__(self, function: PromptFunction) -> None:
        self._function = function
        self.shapes: list[tuple[int, int]] = []

    def ranks(self, batch: Batch, prompts: Tensor, candidates: Candidates) -> Tensor:
        self.shapes.append(tuple(batch.ids.shape))
        return self._function.ranks(batch, prompts, candidates)


@pytest.fixture(scope="module")
def function() -> PromptFunction:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.3
    )
    return single(FrozenLM(GPT2LMHeadModel(config)))


def ranks(function, rows: int, **limits: int) -> tuple[Tensor, Recorder, list[int]]:
    recorder, done = Recorder(function), []
    prompts = torch.randn(2, 2, 16, generator=torch.Generator().manual_seed(1))
    found = all_ranks(
        recorder, examples(rows), prompts, CANDIDATES, pad=0, after_batch=done.append, **limits
    )
    return found, recorder, done


@pytest.mark.parametrize("tokens", [1, 20, 64, 100_000])
def test_a_token_budget_changes_batches_and_not_ranks(function, tokens: int) -> None:
    plain, _, _ = ranks(function, 45, batch_size=16)
    found, recorder, done = ranks(function, 45, batch_size=16, batch_tokens=tokens)
    assert found.shape == (45, 1, 2)
    assert torch.equal(found, plain)
    assert all(n * length <= tokens or n == 1 for n, length in recorder.shapes)
    assert max(n for n, _ in recorder.shapes) <= 16
    assert done == [n for n, _ in recorder.shapes] and sum(done) == 45


def test_without_a_token_budget_batches_are_cut_by_their_size(function) -> None:
    _, recorder, _ = ranks(function, 45, batch_size=16)
    assert [n for n, _ in recorder.shapes] == [16, 16, 13]
    assert sorted(recorder.shapes, key=lambda shape: shape[1]) == recorder.shapes


def test_scores_of_ranks() -> None:
    score = Score.of(torch.tensor([1, 2, 4, 20]))
    assert (score.p_at_1, score.p_at_10, score.mrr, score.facts) == (0.25, 0.75, 0.45, 4)
    assert Score.of(torch.empty(0)) == Score(0.0, 0.0, 0.0, 0)
    assert macro([score, Score.of(torch.tensor([1]))]).p_at_1 == 0.625
