"""Ranks among candidate answers against sorting them."""

import pytest
import torch

from ptune_scale.data.candidates import Candidates
from ptune_scale.parallel.vocabulary import WholeVocabulary

V, N, K = 40, 12, 2
COMMON = {"vocabulary": None, "common": [3, 5, 8, 13, 21, 34]}
BY_RELATION = {"objects": [[1, 3, 5, 7], [2, 3, 30, 39], [0, 3]]}


@pytest.fixture
def candidates() -> Candidates:
    return Candidates(V, COMMON, BY_RELATION)


def ranks_of(candidates: Candidates, logits, labels, relations) -> torch.Tensor:
    return WholeVocabulary().ranks(logits, labels, relations, candidates)


def _allowed(name: str, relation: int) -> list[int]:
    if name in COMMON:
        return list(range(V)) if COMMON[name] is None else COMMON[name]
    return BY_RELATION[name][relation]


def _sorted_rank(logits: torch.Tensor, label: int, allowed: list[int]) -> int:
    """Place of a label in the sorted allowed ids, V + 1 if it is not one of them."""
    if label not in allowed:
        return V + 1
    ranking = sorted(sorted(allowed), key=lambda token: -float(logits[token]))
    return 1 + ranking.index(label)


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_equal_a_sort_over_the_allowed_ids(candidates: Candidates, ties: bool) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(N, K, V, generator=random)
    if ties:
        logits = logits.round()
    relations = torch.arange(N) % 3
    labels = torch.tensor([3, 3, 3, 7, 2, 0, 1, 30, 5, 5, 39, 8])
    ranks = ranks_of(candidates, logits, labels, relations)
    assert ranks.shape == (N, K, 3)
    assert candidates.names == ("vocabulary", "common", "objects")
    for column, name in enumerate(candidates.names):
        for n in range(N):
            allowed = _allowed(name, int(relations[n]))
            expected = [_sorted_rank(logits[n, k], int(labels[n]), allowed) for k in range(K)]
            assert ranks[n, :, column].tolist() == expected


def test_a_tie_counts_for_the_lower_id() -> None:
    candidates = Candidates(4, {"vocabulary": None})
    labels, relations = torch.arange(4), torch.zeros(4, dtype=torch.long)
    ranks = ranks_of(candidates, torch.zeros(4, 1, 4), labels, relations)
    assert ranks.flatten().tolist() == [1, 2, 3, 4]


def test_a_label_outside_the_set_ranks_behind_everything(candidates: Candidates) -> None:
    logits = torch.zeros(1, 1, V)
    logits[0, 0, 2] = 9.0
    ranks = ranks_of(candidates, logits, torch.tensor([2]), torch.tensor([0]))
    assert ranks.flatten().tolist() == [1, V + 1, V + 1]


def test_a_set_is_asked_by_relation(candidates: Candidates) -> None:
    assert candidates.contains("objects", 1, 39)
    assert not candidates.contains("objects", 0, 39)
    assert candidates.contains("common", 2, 34)
    assert not candidates.contains("common", 2, 35)


def test_the_ranks_of_a_row_do_not_depend_on_the_batch(candidates: Candidates) -> None:
    logits = torch.randn(3, 1, V, generator=torch.Generator().manual_seed(1))
    labels, relations = torch.tensor([3, 3, 3]), torch.tensor([2, 0, 1])
    together = ranks_of(candidates, logits, labels, relations)
    for n in range(3):
        row = slice(n, n + 1)
        alone = ranks_of(candidates, logits[row], labels[row], relations[row])
        assert torch.equal(together[row], alone)


def test_counts_of_two_halves_of_the_vocabulary_add_up(candidates: Candidates) -> None:
    logits = torch.randn(N, K, V, generator=torch.Generator().manual_seed(1)).round()
    labels, relations = torch.arange(N), torch.arange(N) % 3
    gold = logits.gather(2, labels[:, None, None].expand(-1, K, 1))
    whole = candidates.count_better(logits, gold, labels, relations)
    halves = [
        candidates.count_better(part, gold, labels, relations, start)
        for start, part in ((0, logits[..., :23]), (23, logits[..., 23:]))
    ]
    assert torch.equal(halves[0] + halves[1], whole)
