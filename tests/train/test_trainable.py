"""The update of the encoders against the plain one, and optimizer states of either kind."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ptune_scale.parallel import Degrees, EncoderPlacement, Mesh, World
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.trainable import TrainableEncoders
from tests.tiny import bank_of

NAMES = ["P17", "P19", "P36", "P103", "P176"]
CONFIG = TrainConfig()
SHAPE = (len(NAMES), 4, 16)


def encoders(kind: str, sharing: str, config: TrainConfig = CONFIG) -> TrainableEncoders:
    bank = bank_of(NAMES, *SHAPE[1:], kind=kind, sharing=sharing)
    mesh = Mesh.build(World(), Degrees())
    placement = EncoderPlacement.build("replicated", mesh, len(bank.members))
    return TrainableEncoders(bank, placement, config)


def plain(kind: str, sharing: str) -> TrainableEncoders:
    """The same with an Adam that is written out in tensor operations."""
    made = encoders(kind, sharing)
    made.optimizers = {
        number: torch.optim.Adam(
            group.parameters(), CONFIG.lr, weight_decay=CONFIG.weight_decay, foreach=False
        )
        for number, group in made.bank.groups.items()
    }
    return made


def steps(count: int, first: int = 0) -> Iterator[tuple[list[int], Tensor, float]]:
    """Tasks, dP and learning rate of some steps; rows of other tasks are zero."""
    for step in range(first, first + count):
        tasks = sorted({step % 5, (2 * step + 1) % 5, (step + 3) % 5})
        gradient = torch.zeros(SHAPE)
        generator = torch.Generator().manual_seed(step)
        gradient[tasks] = torch.randn(len(tasks), *SHAPE[1:], generator=generator)
        yield tasks, gradient, 1e-3 * (1 + step % 3)


def update(made: TrainableEncoders, tasks: list[int], gradient: Tensor, lr: float) -> None:
    rates = dict.fromkeys(made.bank.active_groups(tasks), lr)
    made.update(made.encode(tasks), gradient, rates)


def update_plainly(made: TrainableEncoders, tasks: list[int], gradient: Tensor, lr: float) -> None:
    """All gradients at once, then one encoder after another."""
    made.encode(tasks).backward(gradient)
    for group in made.bank.active_groups(tasks):
        clip_grad_norm_(made.bank.groups[group].parameters(), CONFIG.max_grad_norm, foreach=False)
        made.optimizers[group].param_groups[0]["lr"] = lr
        made.optimizers[group].step()
        made.optimizers[group].zero_grad()


def assert_close(one: TrainableEncoders, other: TrainableEncoders) -> None:
    """Each parameter differs by no more than a millionth of its norm."""
    with torch.no_grad():
        for mine, theirs in zip(one.bank.parameters(), other.bank.parameters(), strict=True):
            assert (mine - theirs).norm() <= 1e-6 * theirs.norm()


@pytest.mark.parametrize("kind", ["none", "mlp", "lstm"])
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_an_update_equals_the_plain_one(kind: str, sharing: str) -> None:
    fast, slow = encoders(kind, sharing), plain(kind, sharing)
    for step in steps(10):
        update(fast, *step)
        update_plainly(slow, *step)
    assert_close(fast, slow)


@pytest.mark.parametrize("kind", ["none", "mlp", "lstm"])
def test_one_encoder_after_another_equals_all_at_once_to_the_bit(kind: str) -> None:
    one, other = encoders(kind, "none"), encoders(kind, "none")
    for step in steps(6):
        update(one, *step)
        update_plainly(other, *step)
    assert all(map(torch.equal, one.bank.parameters(), other.bank.parameters()))


def test_there_are_gradients_of_one_encoder_at_a_time() -> None:
    made = encoders("lstm", "none")
    seen = []

    def look(optimizer, *_):
        holds = [
            n
            for n, g in made.bank.groups.items()
            if any(p.grad is not None for p in g.parameters())
        ]
        seen.append((holds, [n for n, o in made.optimizers.items() if o is optimizer]))

    for optimizer in made.optimizers.values():
        optimizer.register_step_pre_hook(look)
    update(made, [0, 2, 3], torch.ones(SHAPE), 1e-3)
    assert len(seen) == 3 and all(holds == stepped for holds, stepped in seen)
    assert all(parameter.grad is None for parameter in made.bank.parameters())


def test_encoders_that_took_no_part_stay_as_they_are() -> None:
    made = encoders("mlp", "none")
    before = [parameter.clone() for parameter in made.bank.groups[1].parameters()]
    update(made, [0, 2], torch.ones(SHAPE), 1e-3)
    assert all(map(torch.equal, before, made.bank.groups[1].parameters()))
    assert not made.optimizers[1].state


def test_a_gradient_is_clipped_per_encoder() -> None:
    # Adam does not see the scale of its first gradient, so the clipped norm is read off its state.
    made = encoders("none", "none", TrainConfig(max_grad_norm=0.5, weight_decay=0.0))
    gradient = torch.ones(SHAPE)
    gradient[0] *= 1e-3
    update(made, [0, 1], gradient, 1e-3)
    means = [float(next(iter(made.optimizers[g].state.values()))["exp_avg"].norm()) for g in (0, 1)]
    assert means == pytest.approx([0.1 * 1e-3 * 8, 0.1 * 0.5], rel=1e-4)


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_saved_and_loaded_encoders_go_on_to_the_bit(sharing: str) -> None:
    whole, first, second = (encoders("lstm", sharing) for _ in range(3))
    for step in steps(8):
        update(whole, *step)
    for step in steps(4):
        update(first, *step)
    second.load_parts(first.parts().__getitem__)
    for step in steps(4, first=4):
        update(second, *step)
    assert all(map(torch.equal, whole.bank.parameters(), second.bank.parameters()))


def test_the_state_of_a_plain_adam_goes_on_in_the_fused_one() -> None:
    slow, fast = plain("lstm", "none"), encoders("lstm", "none")
    for step in steps(4):
        update_plainly(slow, *step)
    saved = deepcopy(slow.parts())  # as from a file, with tensors of its own
    assert saved["encoder-P36"]["optimizer"]["param_groups"][0]["fused"] is None
    fast.load_parts(saved.__getitem__)
    for step in steps(4, first=4):
        update(fast, *step)
        update_plainly(slow, *step)
    assert_close(fast, slow)
    for number, optimizer in fast.optimizers.items():
        assert optimizer.param_groups[0]["fused"] is True
        steps_made = {float(state["step"]) for state in optimizer.state.values()}
        assert steps_made == {float(s["step"]) for s in slow.optimizers[number].state.values()}
