"""The fused kernels against the plain splice: on a GPU, or on a CPU in Triton's interpreter.

The interpreter has to be asked for before Triton is imported, by TRITON_INTERPRET=1; on a machine
without a GPU ``test_triton_interpreter`` runs this file again in a process of its own.
"""

import os

import pytest
import torch
from torch import Tensor

from ptune_scale.splice import embed_and_splice
from ptune_scale.splice.reference import embed_and_splice_reference
from ptune_scale.task.example import NO_SLOT

pytest.importorskip("triton", reason="Triton is not installed")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("no GPU: run in the interpreter instead", allow_module_level=True)

from ptune_scale.splice.triton_splice import (  # noqa: E402
    embed_and_splice_triton,
    group_by_cell,
    num_parts,
    sum_by_cell,
)

DEVICE = "cpu" if INTERPRETED else "cuda"
N, T, R, S, V = 4, 5, 3, 3, 11
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _inputs(hidden: int, dtype: torch.dtype = torch.float32) -> Inputs:
    random = torch.Generator().manual_seed(hidden)
    slots = torch.full((N, T), NO_SLOT)
    slots[0, [0, 1, 4]] = torch.tensor([0, 1, 2])
    slots[1, [4, 2]] = torch.tensor([0, 1])
    slots[3, 1] = 1  # row 2 has no slot, task 1 no row, cell (0, 2) no place
    inputs = (
        torch.randn(V, hidden, generator=random).to(dtype),
        torch.randint(0, V, (N, T), generator=random),
        torch.randn(R, S, hidden, generator=random),
        torch.tensor([2, 0, 1, 2]),
        slots,
    )
    table, ids, prompts, tasks, slots = (tensor.to(DEVICE) for tensor in inputs)
    return table, ids, prompts.requires_grad_(), tasks, slots


def _assert_same(ours: Tensor, reference: Tensor) -> None:
    assert ours.dtype == reference.dtype
    if INTERPRETED and ours.dtype == torch.bfloat16:
        # The interpreter cuts bf16 off instead of rounding it: one unit in the last place.
        torch.testing.assert_close(ours, reference, rtol=2**-7, atol=0)
    else:
        assert torch.equal(ours, reference)


@pytest.mark.parametrize("hidden", [30, 64, 201, 1100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_equals_the_plain_splice(dtype: torch.dtype, hidden: int) -> None:
    inputs = _inputs(hidden, dtype)
    prompts = inputs[2]
    ours, reference = embed_and_splice_triton(*inputs), embed_and_splice_reference(*inputs)
    _assert_same(ours, reference)
    weight = torch.randn(N, T, hidden, generator=torch.Generator().manual_seed(2))
    weight = weight.to(DEVICE, dtype)
    (ours,) = torch.autograd.grad(ours, prompts, weight)
    (reference,) = torch.autograd.grad(reference, prompts, weight)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, reference)
    assert not ours[1].any() and not ours[0, 2].any()
    assert ours[0, 0].any()


def test_without_slots_only_words_come_out() -> None:
    table, ids, prompts, tasks, slots = _inputs(64)
    none = torch.full_like(slots, NO_SLOT)
    for some in (prompts, prompts[:, :0].detach().requires_grad_()):
        ours = embed_and_splice_triton(table, ids, some, tasks, none)
        assert torch.equal(ours, table[ids])
        (gradient,) = torch.autograd.grad(ours.sum(), some)
        assert torch.equal(gradient, torch.zeros_like(some))


def test_no_rows_give_no_inputs() -> None:
    table, ids, prompts, tasks, slots = _inputs(64)
    found = embed_and_splice_triton(table, ids[:0], prompts, tasks[:0], slots[:0])
    assert found.shape == (0, T, 64)
    found.sum().backward()
    assert not prompts.grad.any()


def test_shards_add_up_to_the_whole() -> None:
    table, ids, prompts, tasks, slots = _inputs(64)
    ids[2] = torch.tensor([3, 4, 9, 10, 0])  # both sides of every edge
    whole = embed_and_splice_reference(table, ids, prompts, tasks, slots)
    parts = []
    for low, high in ((0, 4), (4, 10), (10, 11)):
        settings = {"shard": (low, high), "writes_prompts": low == 4}
        # Rows beyond the shard that must not be read.
        rows = torch.cat([table[low:high], torch.full_like(table[:2], torch.nan)])
        rest = (ids, prompts, tasks, slots)
        part = embed_and_splice_triton(rows, *rest, **settings)
        assert torch.equal(part, embed_and_splice_reference(rows, *rest, **settings))
        (gradient,) = torch.autograd.grad(part.sum(), prompts, retain_graph=True)
        assert bool(gradient.any()) == (low == 4)
        parts.append(part)
    assert torch.equal(sum(parts), whole)


def test_views_and_strides_are_respected() -> None:
    table, ids, prompts, tasks, slots = _inputs(64)
    cut = (table, ids[:, :4], prompts, tasks, slots[:, :4])
    ours = embed_and_splice_triton(*cut)
    assert torch.equal(ours, embed_and_splice_reference(*cut))
    weight = torch.randn(64, 4, N, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    (ours,) = torch.autograd.grad(ours, prompts, weight.permute(2, 1, 0))
    reference = embed_and_splice_reference(*cut)
    (reference,) = torch.autograd.grad(reference, prompts, weight.permute(2, 1, 0))
    torch.testing.assert_close(ours, reference)


def test_the_table_gets_no_gradient() -> None:
    table, *rest = _inputs(64)
    embed_and_splice_triton(table.requires_grad_(), *rest).sum().backward()
    assert table.grad is None


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_rows_are_added_in_a_fixed_order(parts: int) -> None:
    """Of numbers of very different size, so that any other order gives other bits."""
    num_rows, hidden = 13, 64
    random = torch.Generator().manual_seed(0)
    size = 10.0 ** torch.randint(-3, 4, (num_rows, 2, hidden), generator=random)
    gradient = torch.randn(num_rows, 2, hidden, generator=random) * size
    tasks = torch.arange(num_rows) % 2
    slots = torch.tensor([0, NO_SLOT]).repeat(num_rows, 1)
    arguments = (gradient.to(DEVICE), tasks.to(DEVICE), slots.to(DEVICE), (3, 1, hidden))
    ours = sum_by_cell(*arguments, parts=parts).cpu()
    forward, backward = [], []
    for task in range(3):
        rows = gradient[tasks == task, 0]
        chunks = rows.split(max(1, -(-len(rows) // parts)))
        forward.append(_in_turn([_in_turn(chunk, hidden) for chunk in chunks], hidden))
        backward.append(_in_turn(rows.flip(0), hidden))
    assert torch.equal(ours[:, 0], torch.stack(forward))
    assert not torch.equal(ours[:, 0], torch.stack(backward))
    assert torch.equal(ours, sum_by_cell(*arguments, parts=parts).cpu())


def _in_turn(rows: list[Tensor] | Tensor, hidden: int) -> Tensor:
    total = torch.zeros(hidden)
    for row in rows:
        total = total + row
    return total


def test_places_are_sorted_by_cell_and_keep_their_order() -> None:
    _, _, _, tasks, slots = _inputs(64)
    order, offsets = (tensor.tolist() for tensor in group_by_cell(tasks, slots, R, S))
    found = [order[start:stop] for start, stop in zip(offsets, offsets[1:], strict=False)]
    # Cells (0, 0), (0, 1) ... (2, 2); task 0 has row 1, task 2 has rows 0 and 3.
    assert found == [[9], [7], [], [], [], [], [0], [1, 16], [4]]
    assert sorted(order) == list(range(N * T))


def test_sums_are_split_only_where_programs_are_few() -> None:
    assert num_parts(num_rows=64, num_programs=20) == 8  # at least 8 rows each
    assert num_parts(num_rows=4096, num_programs=60) == 9
    assert num_parts(num_rows=4096, num_programs=1000) == 1
    assert num_parts(num_rows=0, num_programs=0) == 1


def test_the_device_chooses_the_implementation() -> None:
    inputs = _inputs(64)
    fused = "EmbedAndSplice" in type(embed_and_splice(*inputs).grad_fn).__name__
    assert fused == (DEVICE == "cuda")
