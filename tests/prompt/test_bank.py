"""The prompt bank and its encoders: shapes, sizes, independence of tasks."""

import pytest
import torch
from torch import nn

from ptune_scale.prompt.bank import stable_seed
from ptune_scale.prompt.encoder import build_encoder, count_parameters
from tests.tiny import bank_of

KINDS = ["none", "mlp", "lstm"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_keeps_the_shape_of_its_vectors(kind: str) -> None:
    encoder = build_encoder(kind, 8)
    assert encoder(torch.randn(3, 5, 8)).shape == (3, 5, 8)


def test_an_lstm_encoder_refuses_an_odd_hidden_size() -> None:
    with pytest.raises(ValueError, match="even"):
        build_encoder("lstm", 7)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_as_the_module_has_them(kind: str) -> None:
    bank = bank_of(["P36"], 6, 576, kind=kind)
    assert count_parameters(kind, 576, 6) == sum(p.numel() for p in bank.parameters())


def test_the_lstm_encoder_at_hidden_size_3072_has_the_published_size() -> None:
    assert count_parameters("lstm", 3072, 6) == 132_194_304


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_a_bank_yields_one_row_a_task_and_zeros_for_the_rest(kind: str, sharing: str) -> None:
    bank = bank_of(["a", "b", "c"], 4, 8, kind=kind, sharing=sharing)
    prompts = bank([2, 0])
    assert prompts.shape == (3, 4, 8)
    assert prompts.dtype == torch.float32
    assert torch.equal(prompts[1], torch.zeros(4, 8))
    full = bank([0, 1, 2])
    assert torch.allclose(prompts[[0, 2]], full[[0, 2]], atol=1e-6)
    assert not torch.equal(full[0], full[2])


@pytest.mark.parametrize("kind", KINDS)
def test_without_sharing_a_prompt_does_not_depend_on_who_else_is_in_the_job(kind: str) -> None:
    alone = bank_of(["b"], 4, 8, kind=kind, sharing="none")
    torch.manual_seed(1)
    together = bank_of(["a", "b", "c"], 4, 8, kind=kind, sharing="none")
    assert torch.equal(alone([0])[0], together([1])[1])
    assert torch.equal(alone([0])[0], together([0, 1, 2])[1])


def test_another_seed_gives_other_prompts_and_building_leaves_the_global_seed_alone() -> None:
    state = torch.get_rng_state()
    first = bank_of(["a"], 2, 8, kind="none", seed=1)
    second = bank_of(["a"], 2, 8, kind="none", seed=2)
    assert not torch.equal(first([0]), second([0]))
    assert torch.equal(torch.get_rng_state(), state)


def _touched(group: nn.Module) -> list[bool]:
    return [p.grad is not None for p in group.parameters()]


@pytest.mark.parametrize("kind", KINDS)
def test_only_active_groups_get_gradients(kind: str) -> None:
    bank = bank_of(["a", "b", "c"], 4, 8, kind=kind, sharing="none")
    assert bank.active_groups([2, 0]) == [0, 2]
    bank([2, 0]).square().sum().backward()
    assert all(_touched(bank.groups[0]))
    assert not any(_touched(bank.groups[1]))
    assert all(_touched(bank.groups[2]))


def test_with_one_shared_encoder_only_vectors_of_active_tasks_get_gradients() -> None:
    bank = bank_of(["a", "b", "c"], 4, 8, kind="lstm", sharing="all")
    assert len(bank.groups) == 1
    bank([1]).square().sum().backward()
    by_task = bank.groups[0].vectors.grad.abs().sum((1, 2))
    assert by_task[1] > 0
    assert by_task[0] == by_task[2] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_bank_that_holds_some_groups_has_their_rows_of_the_full_bank(kind: str) -> None:
    sizes = {"num_slots": 4, "hidden_size": 8, "kind": kind, "sharing": "none"}
    full = bank_of(["a", "b", "c"], **sizes)
    part = bank_of(["a", "b", "c"], **sizes, held=[1])
    everyone = [0, 1, 2]
    assert torch.equal(part(everyone)[1], full(everyone)[1])
    assert not part(everyone)[[0, 2]].any()
    assert list(part.groups) == [1] and part.active_groups([2, 1]) == [1, 2]
    count = sum(p.numel() for p in full.parameters())
    assert full.num_parameters == part.num_parameters == count
    assert sum(p.numel() for p in part.parameters()) == count // 3


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_a_bank_that_holds_nothing_has_no_parameters_and_yields_zeros(sharing: str) -> None:
    bank = bank_of(["a", "b"], 4, 8, sharing=sharing, held=[])
    assert not list(bank.parameters())
    prompts = bank([0, 1])
    assert prompts.shape == (2, 4, 8) and not prompts.any() and not prompts.requires_grad
    whole = bank_of(["a", "b"], 4, 8, sharing=sharing)
    assert bank.num_parameters == sum(p.numel() for p in whole.parameters())


def test_a_stable_seed_is_the_same_on_every_machine() -> None:
    assert stable_seed(34, "prompt", "P36") == stable_seed(34, "prompt", "P36")
    assert stable_seed(34, "prompt", "P36") != stable_seed(34, "prompt", "P37")
    assert 0 <= stable_seed("x") < 2**63


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_prompts_begin_as_what_they_are_given_and_still_learn(kind: str, sharing: str) -> None:
    start = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    bank = bank_of(["a", "b", "c"], 4, 8, kind=kind, sharing=sharing, start=start)
    assert torch.equal(bank([0, 1, 2]), start)
    bank([1]).square().sum().backward()
    learning = [p for p in bank.parameters() if p.grad is not None and bool(p.grad.any())]
    assert learning
    with torch.no_grad():
        for parameter in learning:
            parameter -= 0.1 * parameter.grad
    assert not torch.allclose(bank([1])[1], start[1], atol=1e-3)
