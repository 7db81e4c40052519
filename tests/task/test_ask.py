"""Rows asked in batches of similar length, and rows that grow as they are answered."""

from collections.abc import Sequence

import pytest
import torch

from ptune_scale.backbone import Backbone
from ptune_scale.parallel import single
from ptune_scale.task.ask import Asker, continued, cut_by_tokens, probabilities_of, with_answer
from ptune_scale.task.example import NO_SLOT, Batch, Example


def row_of(length: int, token: int = 5) -> Example:
    ids = (token,) * (length - 1)
    return Example(0, (0, *ids), (0, *[NO_SLOT] * (length - 1)), (length - 1,), (length,))


def test_a_list_is_cut_by_what_it_holds_or_by_what_it_takes_when_padded() -> None:
    lengths = [2, 2, 3, 3, 9, 12]

    def parts(*limits: int | None, **more: int) -> list[list[int]]:
        return [lengths[cut] for cut in cut_by_tokens(lengths, *limits, **more)]

    assert parts(10) == [[2, 2, 3, 3], [9], [12]]
    assert parts(10, padded=True) == [[2, 2, 3], [3], [9], [12]]
    assert parts(10, rows=2) == [[2, 2], [3, 3], [9], [12]]
    assert parts(None, rows=4) == [[2, 2, 3, 3], [9, 12]]
    assert parts(None) == [lengths]
    assert cut_by_tokens([], 10) == []


@pytest.mark.parametrize(
    ("size", "tokens", "shared", "expected"),
    [
        (3, 0, 0, [[2, 3, 3], [5, 9, 9]]),
        (9, 10, 0, [[2, 3, 3], [5], [9], [9]]),
        # Two tokens that all rows begin with are counted once.
        (9, 16, 2, [[2, 3, 3, 5], [9, 9]]),
        (9, 4, 3, [[2, 3, 3], [5], [9], [9]]),
    ],
)
def test_rows_meet_in_batches_of_similar_length_and_answers_find_their_way_back(
    size: int, tokens: int, shared: int, expected: list[list[int]], llama: Backbone
) -> None:
    lengths = [9, 3, 5, 2, 9, 3]
    done: list[int] = []
    asker = Asker(single(llama.lm), torch.zeros(1, 1, 32), size, tokens, shared, done.append)
    batches: list[list[int]] = []

    def ask(batch: Batch) -> Sequence[int]:
        batches.append([len(row.ids) for row in batch.examples])
        return batch.answers[:, 0].tolist()

    assert asker.in_batches([row_of(length) for length in lengths], ask) == lengths
    assert batches == expected and done == [len(batch) for batch in batches]


def test_nothing_is_asked_about_no_rows(llama: Backbone) -> None:
    asker = Asker(single(llama.lm), torch.zeros(1, 1, 32))
    assert asker.in_batches([], lambda batch: []) == [] == asker.read([]) == asker.filled([])


def test_a_row_goes_on_with_tokens_that_are_no_slots() -> None:
    longer = continued(row_of(3), [7, 8])
    assert (longer.ids, longer.slots) == ((0, 5, 5, 7, 8), (0, -1, -1, -1, -1))
    assert longer.targets == (4,)
    assert continued(longer, []).targets == (4,)


def test_an_answer_that_is_written_is_no_target_any_more() -> None:
    row = Example(0, (1, 9, 9, 2), (-1,) * 4, (1, 2), (5, 6))
    rest = with_answer(row, 1, 8)
    assert rest == Example(0, (1, 9, 8, 2), (-1,) * 4, (1,), (5,))
    assert with_answer(rest, 0, 7).targets == ()


def test_log_probabilities_of_some_tokens_are_those_of_the_model(llama: Backbone, plainly) -> None:
    prompts = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(0))
    asker = Asker(single(llama.lm), prompts, batch_size=2)
    rows, tokens = [row_of(n, token=n) for n in (3, 7, 5)], torch.tensor([9, 0, 300])
    for row, found in zip(rows, asker.next_tokens(rows, tokens), strict=True):
        expected = plainly(llama, prompts, row.ids, row.slots)[row.targets[0], tokens]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_probabilities_add_up_whatever_the_scale() -> None:
    shares = probabilities_of(torch.tensor([[-1e4, -1e4 + 1], [3.0, -50.0]]))
    assert shares.sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert shares[0].tolist() == pytest.approx([0.26894, 0.73106], rel=1e-4)
