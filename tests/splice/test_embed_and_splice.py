"""From ids to inputs in one call: the plain way against the loop that it stands for."""

import pytest
import torch
from torch import Tensor

from ptune_scale.splice import embed_and_splice, splice
from ptune_scale.task.example import NO_SLOT

N, T, H, R, S, V = 4, 6, 8, 3, 2, 11
PLACEHOLDER = 5
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def inputs() -> Inputs:
    random = torch.Generator().manual_seed(0)
    slots = torch.full((N, T), NO_SLOT)
    slots[0, :2] = torch.tensor([0, 1])
    slots[1, [3, 5]] = torch.tensor([1, 0])
    slots[3, 2] = 1  # row 2 has no slot, task 1 no row
    ids = torch.randint(0, V, (N, T), generator=random).masked_fill(slots >= 0, PLACEHOLDER)
    return (
        torch.randn(V, H, generator=random),
        ids,
        torch.randn(R, S, H, generator=random).requires_grad_(),
        torch.tensor([2, 0, 0, 2]),
        slots,
    )


def _loop(
    inputs: Inputs,
    shard: tuple[int, int] = (0, V),
    writes_prompts: bool = True,
) -> Tensor:
    table, ids, prompts, tasks, slots = inputs
    places = []
    for n in range(N):
        for t in range(T):
            token, slot = int(ids[n, t]), int(slots[n, t])
            value = torch.zeros(H)
            if slot >= 0:
                value = prompts[tasks[n], slot] * float(writes_prompts)
            elif shard[0] <= token < shard[1]:
                value = table[token - shard[0]].float()
            places.append(value)
    return torch.stack(places).view(N, T, H)


def test_it_equals_the_loop_over_places(inputs: Inputs) -> None:
    ours, loops = embed_and_splice(*inputs), _loop(inputs)
    assert torch.equal(ours, loops)
    weight = torch.randn(N, T, H, generator=torch.Generator().manual_seed(2))
    (ours,) = torch.autograd.grad((ours * weight).sum(), inputs[2])
    (loops,) = torch.autograd.grad((loops * weight).sum(), inputs[2])
    torch.testing.assert_close(ours, loops)
    assert torch.equal(ours[1], torch.zeros(S, H))


def test_it_has_the_dtype_of_the_table_and_gradients_in_full_precision(inputs: Inputs) -> None:
    table, *rest = inputs
    inputs = (table.bfloat16(), *rest)
    ours = embed_and_splice(*inputs)
    assert torch.equal(ours, _loop(inputs).bfloat16())
    ours.float().sum().backward()
    assert inputs[2].grad.dtype == torch.float32


def test_it_equals_a_lookup_followed_by_a_splice(inputs: Inputs) -> None:
    table, ids, *rest = inputs
    assert torch.equal(embed_and_splice(*inputs), splice(table[ids], *rest))


def test_the_table_neither_changes_nor_gets_a_gradient(inputs: Inputs) -> None:
    table, *rest = inputs
    before = table.clone()
    embed_and_splice(table.requires_grad_(), *rest).sum().backward()
    assert table.grad is None
    assert torch.equal(table, before)


def test_the_backward_pass_reads_the_prompt_places_only(inputs: Inputs) -> None:
    """An in-place copy into a view would first copy the whole gradient, several times."""
    copied = embed_and_splice(*inputs).grad_fn.next_functions[0][0]
    assert copied.name() == "IndexCopyBackward0"


def test_what_stands_at_prompt_places_is_not_read(inputs: Inputs) -> None:
    table, ids, prompts, tasks, slots = inputs
    ids = ids.masked_fill(slots >= 0, -100)
    expected = embed_and_splice(*inputs)
    assert torch.equal(embed_and_splice(table, ids, prompts, tasks, slots), expected)


def test_without_slots_only_words_come_out(inputs: Inputs) -> None:
    table, ids, prompts, tasks, slots = inputs
    none = torch.full_like(slots, NO_SLOT)
    for some in (prompts, torch.zeros(R, 0, H, requires_grad=True)):
        found = embed_and_splice(table, ids, some, tasks, none)
        assert torch.equal(found, table[ids])
        (gradient,) = torch.autograd.grad(found.sum(), some)
        assert torch.equal(gradient, torch.zeros_like(some))


def test_no_rows_give_no_inputs(inputs: Inputs) -> None:
    table, ids, prompts, tasks, slots = inputs
    found = embed_and_splice(table, ids[:0], prompts, tasks[:0], slots[:0])
    assert found.shape == (0, T, H)
    found.sum().backward()
    assert not prompts.grad.any()


def test_shards_add_up_to_the_whole(inputs: Inputs) -> None:
    table, *rest = inputs
    prompts = inputs[2]
    whole = embed_and_splice(*inputs)
    parts = []
    for low, high in ((0, 4), (4, 10), (10, 11)):
        shard, first = (low, high), low == 0
        mine = torch.cat([table[low:high], torch.full((2, H), torch.nan)])  # padded rows
        settings = {"shard": shard, "writes_prompts": first}
        part = embed_and_splice(mine, *rest, **settings)
        assert torch.equal(part, _loop((mine, *rest), **settings))
        (gradient,) = torch.autograd.grad(part.sum(), prompts, retain_graph=True)
        assert bool(gradient.any()) == first
        parts.append(part)
    assert torch.equal(sum(parts), whole)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"slots": torch.full((N, T + 1), NO_SLOT)}, "same rows"),
        ({"tasks": torch.zeros(N + 1, dtype=torch.int64)}, "same rows"),
        ({"prompts": torch.zeros(R, S, H + 1)}, "size 9 in embeddings of size 8"),
        ({"shard": (0, V + 1)}, "11 rows"),
        ({"shard": (4, 3)}, "11 rows"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    inputs: Inputs, change: dict[str, Tensor | tuple[int, int]], complaint: str
) -> None:
    names = ("table", "ids", "prompts", "tasks", "slots")
    with pytest.raises(ValueError, match=complaint):
        embed_and_splice(**dict(zip(names, inputs, strict=True)) | change)
