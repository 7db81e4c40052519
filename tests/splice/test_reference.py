"""The plain splice against the loop that it stands for."""

import pytest
import torch
from torch import Tensor

from ptune_scale.splice import splice
from ptune_scale.splice.reference import splice_reference
from ptune_scale.task.example import NO_SLOT

N, T, H, R, S = 5, 9, 8, 3, 4


def _loop(words: Tensor, prompts: Tensor, tasks: Tensor, slots: Tensor) -> Tensor:
    rows = []
    for n in range(len(words)):
        for t in range(words.shape[1]):
            slot = int(slots[n, t])
            rows.append(words[n, t] if slot < 0 else prompts[tasks[n], slot].to(words.dtype))
    return torch.stack(rows).view_as(words)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    slots = torch.full((N, T), NO_SLOT)
    for row in range(N):
        places = torch.randperm(T, generator=random)[:S].sort().values
        slots[row, places] = torch.arange(S)
    slots[3] = NO_SLOT  # a row without any slot
    return (
        torch.randn(N, T, H, generator=random),
        torch.randn(R, S, H, generator=random).requires_grad_(),
        torch.tensor([2, 0, 2, 1, 2]),
        slots,
    )


def test_it_equals_the_loop_over_rows(inputs: tuple[Tensor, ...]) -> None:
    assert torch.equal(splice_reference(*inputs), _loop(*inputs))


def test_the_public_entry_gives_the_same(inputs: tuple[Tensor, ...]) -> None:
    assert torch.equal(splice(*inputs), splice_reference(*inputs))


def test_it_computes_in_the_dtype_of_the_words(inputs: tuple[Tensor, ...]) -> None:
    words, prompts, tasks, slots = inputs
    words = words.bfloat16()
    spliced = splice_reference(words, prompts, tasks, slots)
    assert spliced.dtype == torch.bfloat16
    assert torch.equal(spliced, _loop(words, prompts, tasks, slots))


def test_its_gradient_equals_the_loops(inputs: tuple[Tensor, ...]) -> None:
    weight = torch.randn(N, T, H, generator=torch.Generator().manual_seed(1))
    prompts = inputs[1]
    (ours,) = torch.autograd.grad((splice_reference(*inputs) * weight).sum(), prompts)
    (loops,) = torch.autograd.grad((_loop(*inputs) * weight).sum(), prompts)
    torch.testing.assert_close(ours, loops)
    assert torch.equal(ours[1], torch.zeros(S, H))  # its only row has no slots


def test_the_gradient_of_bf16_words_is_summed_in_fp32(inputs: tuple[Tensor, ...]) -> None:
    words, prompts, tasks, slots = inputs
    splice_reference(words.bfloat16(), prompts, tasks, slots).float().sum().backward()
    assert prompts.grad.dtype == torch.float32
    assert torch.equal(prompts.grad[2], torch.full((S, H), 3.0))


def test_no_gradient_reaches_the_vocabulary(inputs: tuple[Tensor, ...]) -> None:
    words, prompts, tasks, slots = inputs
    table = torch.nn.Embedding(11, H).requires_grad_(False)
    with torch.no_grad():
        looked_up = table(torch.zeros(N, T, dtype=torch.long))
    splice_reference(looked_up, prompts, tasks, slots).sum().backward()
    assert table.weight.grad is None
    assert looked_up.grad is None and not looked_up.requires_grad
    assert prompts.grad is not None


def test_the_words_are_not_overwritten(inputs: tuple[Tensor, ...]) -> None:
    before = inputs[0].clone()
    splice_reference(*inputs)
    assert torch.equal(inputs[0], before)


def test_without_slots_the_gradient_is_zero_and_not_missing(inputs: tuple[Tensor, ...]) -> None:
    words, prompts, tasks, slots = inputs
    splice_reference(words, prompts, tasks, torch.full_like(slots, NO_SLOT)).sum().backward()
    assert prompts.grad is not None and not prompts.grad.any()


def test_without_slots_the_words_pass_through(inputs: tuple[Tensor, ...]) -> None:
    words, _, tasks, slots = inputs
    none = torch.full_like(slots, NO_SLOT)
    assert torch.equal(splice_reference(words, torch.zeros(R, 0, H), tasks, none), words)
