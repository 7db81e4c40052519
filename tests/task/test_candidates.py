"""Ranks among candidate answers against sorting them."""

import pytest
import torch
from torch import Tensor

from ptune_scale.parallel.vocabulary import WholeVocabulary
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_ANSWER

V, N, K = 40, 12, 2
COMMON = {"vocabulary": None, "common": [3, 5, 8, 13, 21, 34]}
BY_TASK = {"objects": [[1, 3, 5, 7], [2, 3, 30, 39], [0, 3]]}


@pytest.fixture
def candidates() -> Candidates:
    return Candidates(V, COMMON, BY_TASK)


def ranks_of(candidates: Candidates, logits, answers, tasks) -> Tensor:
    return WholeVocabulary().ranks(logits, answers, tasks, candidates)


def _allowed(name: str, task: int) -> list[int]:
    if name in COMMON:
        return list(range(V)) if COMMON[name] is None else COMMON[name]
    return BY_TASK[name][task]


def _sorted_rank(logits: Tensor, answer: int, allowed: list[int]) -> int:
    """Place of an answer in the sorted allowed ids, V + 1 if it is not one of them."""
    if answer not in allowed:
        return V + 1
    ranking = sorted(sorted(allowed), key=lambda token: -float(logits[token]))
    return 1 + ranking.index(answer)


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_equal_a_sort_over_the_allowed_ids(candidates: Candidates, ties: bool) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(N, K, V, generator=random)
    if ties:
        logits = logits.round()
    tasks = torch.arange(N) % 3
    first = torch.tensor([3, 3, 3, 7, 2, 0, 1, 30, 5, 5, 39, 8])
    answers = torch.stack([first, first.flip(0)], dim=1)
    ranks = ranks_of(candidates, logits, answers, tasks)
    assert ranks.shape == (N, K, 3)
    assert candidates.names == ("vocabulary", "common", "objects")
    for column, name in enumerate(candidates.names):
        for n in range(N):
            allowed = _allowed(name, int(tasks[n]))
            expected = [_sorted_rank(logits[n, k], int(answers[n, k]), allowed) for k in range(K)]
            assert ranks[n, :, column].tolist() == expected


def test_a_tie_counts_for_the_lower_id() -> None:
    candidates = Candidates(4, {"vocabulary": None})
    answers, tasks = torch.arange(4)[:, None], torch.zeros(4, dtype=torch.long)
    ranks = ranks_of(candidates, torch.zeros(4, 1, 4), answers, tasks)
    assert ranks.flatten().tolist() == [1, 2, 3, 4]


def test_an_answer_outside_the_set_ranks_behind_everything(candidates: Candidates) -> None:
    logits = torch.zeros(1, 1, V)
    logits[0, 0, 2] = 9.0
    ranks = ranks_of(candidates, logits, torch.tensor([[2]]), torch.tensor([0]))
    assert ranks.flatten().tolist() == [1, V + 1, V + 1]


def test_where_no_answer_is_expected_the_rank_is_behind_everything(candidates: Candidates) -> None:
    answers = torch.tensor([[3, NO_ANSWER]])
    ranks = ranks_of(candidates, torch.zeros(1, 2, V), answers, torch.tensor([0]))
    assert ranks.tolist() == [[[4, 1, 2], [V + 1] * 3]]


def test_a_set_is_asked_by_task(candidates: Candidates) -> None:
    assert candidates.contains("objects", 1, 39)
    assert not candidates.contains("objects", 0, 39)
    assert candidates.contains("common", 2, 34)
    assert not candidates.contains("common", 2, 35)


def test_the_ranks_of_a_row_do_not_depend_on_the_batch(candidates: Candidates) -> None:
    logits = torch.randn(3, 1, V, generator=torch.Generator().manual_seed(1))
    answers, tasks = torch.tensor([[3], [3], [3]]), torch.tensor([2, 0, 1])
    together = ranks_of(candidates, logits, answers, tasks)
    for n in range(3):
        row = slice(n, n + 1)
        alone = ranks_of(candidates, logits[row], answers[row], tasks[row])
        assert torch.equal(together[row], alone)


def test_counts_of_two_halves_of_the_vocabulary_add_up(candidates: Candidates) -> None:
    logits = torch.randn(N, K, V, generator=torch.Generator().manual_seed(1)).round()
    answers = torch.arange(N)[:, None].expand(-1, K)
    tasks = torch.arange(N) % 3
    gold = logits.gather(2, answers[..., None])
    whole = candidates.count_better(logits, gold, answers, tasks)
    halves = [
        candidates.count_better(part, gold, answers, tasks, start)
        for start, part in ((0, logits[..., :23]), (23, logits[..., 23:]))
    ]
    assert torch.equal(halves[0] + halves[1], whole)


def test_only_a_sets_tokens_are_left_wherever_a_shard_begins(candidates: Candidates) -> None:
    logits, tasks = torch.randn(3, V), torch.arange(3)
    for name in candidates.names:
        whole = candidates.only(name, logits, tasks)
        for task in range(3):
            left = (whole[task] > -torch.inf).nonzero().flatten().tolist()
            assert left == candidates.tokens(name, task).tolist() == sorted(_allowed(name, task))
        shards = [candidates.only(name, logits[:, s : s + 16], tasks, s) for s in range(0, V, 16)]
        assert torch.equal(torch.cat(shards, dim=1), whole)


def test_the_set_that_is_reported_comes_first() -> None:
    assert Candidates(V, COMMON, BY_TASK, first="objects").names == (
        "objects",
        "vocabulary",
        "common",
    )


def test_a_set_may_be_the_whole_vocabulary_for_one_task_and_words_for_another() -> None:
    candidates = Candidates(V, {}, {"mixed": [None, [3, 5]]})
    assert candidates.contains("mixed", 0, 39) and not candidates.contains("mixed", 1, 39)
