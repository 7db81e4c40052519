"""Recorded passes give what the same passes give without a recording.

Recordings are made on a GPU alone: elsewhere one that writes to fixed places, as those do, stands
in for them, so that what surrounds them is tested everywhere.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ptune_scale.backbone import FrozenLM
from ptune_scale.backbone.cuda_graphs import CudaGraphs
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.backbone.text_cache import TextCache
from ptune_scale.backbone.tiers import MemoryTier
from ptune_scale.parallel import PromptFunction, World, single
from ptune_scale.parallel.layout import replicated
from tests.backbone.test_shortcuts import (
    BATCHES,
    SLOTS,
    assert_same,
    batch_of,
    loss_and_gradient,
    network,
)


class Recorder:
    """What it makes writes to fixed places, and keeps for one backward pass at a time."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.started = 0

    def __call__(self, function: Callable[..., Tensor], samples: tuple[Tensor, ...]) -> Any:
        self.shapes.append(tuple(samples[0].shape))
        kept: dict[str, Tensor] = {}
        recorder = self

        class Fixed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *tensors: Tensor) -> Tensor:
                recorder.started += 1
                for sample, tensor in zip(samples, tensors, strict=True):
                    assert sample.shape == tensor.shape
                    sample.data.copy_(tensor)
                with torch.set_grad_enabled(samples[0].requires_grad):
                    result = function(*samples)
                if "result" in kept:
                    kept["result"].data.copy_(result)
                else:
                    kept["result"] = result.detach().clone()
                kept["graph"] = result
                return kept["result"].detach()

            @staticmethod
            def backward(ctx: Any, gradient: Tensor) -> Any:
                found = torch.autograd.grad(kept["graph"], samples[0], gradient)
                return (*found, *[None] * (len(samples) - 1))

        return Fixed.apply


@pytest.fixture
def cubes() -> Iterator[tuple[CudaGraphs, Recorder]]:
    recorder = Recorder()
    yield CudaGraphs(lambda x, y: x**3 + y, 1, 1, recorder), recorder


def numbers(*values: float) -> Tensor:
    return torch.tensor(values).float().requires_grad_()


def test_a_shape_is_recorded_when_it_comes_again(cubes: tuple[CudaGraphs, Recorder]) -> None:
    graphs, recorder = cubes
    for count in (2, 3, 2, 2):
        graphs(torch.ones(count), torch.ones(count))
    assert (recorder.shapes, recorder.started) == ([(2,)], 2)


def test_passes_before_a_backward_pass_do_not_disturb_it(
    cubes: tuple[CudaGraphs, Recorder],
) -> None:
    graphs, recorder = cubes
    ones = torch.ones(2)
    for _ in range(2):
        graphs(numbers(1, 1), ones).sum().backward()
    x, y = numbers(1, 2), numbers(3, 4)
    first, second = graphs(x, ones), graphs(y, ones)
    with torch.no_grad():
        third = graphs(y, ones)
    (first.sum() + 10 * second.sum()).backward()
    assert first.tolist() == [2, 9] and second.tolist() == third.tolist() == [28, 65]
    assert x.grad is not None and x.grad.tolist() == [3, 12]
    assert y.grad is not None and y.grad.tolist() == [270, 480]
    assert recorder.started == 2  # one of them by the recording, the others beside it
    graphs(numbers(1, 1), ones)
    assert recorder.started == 3


def test_a_pass_that_nobody_asks_for_a_gradient_does_not_stop_recordings(
    cubes: tuple[CudaGraphs, Recorder],
) -> None:
    graphs, recorder = cubes
    for _ in range(4):
        graphs(numbers(1, 1), torch.ones(2))
    assert recorder.started == 3


def test_what_comes_when_recordings_are_full_is_computed_as_it_is(
    cubes: tuple[CudaGraphs, Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs, recorder = cubes
    monkeypatch.setattr(f"{CudaGraphs.__module__}._MOST_BYTES", 2 * 4 * (2 + 3))
    for _ in range(3):
        for count in (2, 3, 4):
            assert graphs(torch.ones(count), torch.ones(count)).tolist() == [2] * count
    assert recorder.shapes == [(2,), (3,)] and recorder.started == 4


def test_a_shape_that_is_too_much_to_record_is_computed_as_it_is() -> None:
    asked = []

    def record(function: Callable[..., Tensor], samples: tuple[Tensor, ...]) -> Any:
        asked.append(samples)
        raise torch.OutOfMemoryError

    graphs = CudaGraphs(lambda x: 2 * x, 1, 1, record)
    assert [graphs(torch.ones(1)).item() for _ in range(4)] == [2] * 4
    assert len(asked) == 1 and not graphs.num_recorded


def test_long_passes_and_those_of_large_models_are_not_recorded() -> None:
    def most(num_parameters: int, num_processors: int) -> CudaGraphs:
        return CudaGraphs(torch.clone, num_parameters, num_processors, Recorder())

    assert most(10**8, 132).is_short(4000) and not most(10**8, 132).is_short(5000)
    assert most(10**10, 132).is_short(80) and not most(10**10, 132).is_short(400)
    assert not most(10**8, 40).is_short(4000)


def recorded(lm: FrozenLM) -> Recorder:
    recorder = Recorder()
    assert lm.prepared is not None
    lm.prepared.graphs = CudaGraphs(lm.prepared.at_targets, 10**4, 132, recorder)
    return recorder


@pytest.mark.parametrize("patterns", BATCHES.values(), ids=BATCHES)
def test_recorded_passes_give_the_losses_and_gradients_of_plain_ones(patterns: tuple) -> None:
    batch = batch_of(*patterns)
    expected = loss_and_gradient(FrozenLM(network("llama"), shortcuts=PLAIN), batch)
    lm = FrozenLM(network("llama")).prepare()
    recorder = recorded(lm)
    for _ in range(3):
        assert_same(loss_and_gradient(lm, batch), expected)
    assert recorder.started == 2


def test_recorded_passes_behind_kept_texts_give_the_same() -> None:
    batch = batch_of("wwwwpp", "wwwwwpwpp")
    prompts = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(2))
    plain = single(FrozenLM(network("llama"), shortcuts=PLAIN))
    lm = FrozenLM(network("llama")).prepare()
    lm.texts = TextCache(MemoryTier(1 << 30))
    recorder, function = recorded(lm), single(lm)
    for _ in range(3):
        assert_same(
            function.loss_and_gradient(batch, prompts), plain.loss_and_gradient(batch, prompts)
        )
        found = function.log_probabilities(batch, prompts)
        torch.testing.assert_close(
            found, plain.log_probabilities(batch, prompts), atol=1e-4, rtol=1e-5
        )
    assert lm.texts.reused and len(recorder.shapes) == 2 and recorder.started == 4


def test_texts_of_many_lines_are_not_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line has its own copy of a text: what counts is their number, not that of texts."""
    lm = FrozenLM(network("llama")).prepare()
    lm.texts = TextCache(MemoryTier(1 << 30))
    recorder, function = recorded(lm), single(lm)
    batch = batch_of("w" * 9 + "pp", "w" * 10 + "pp")
    prompts = torch.randn(2, 2, 32, generator=torch.Generator().manual_seed(2))
    of_token = 3 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width, bytes
    lines = 16  # ten texts
    for room, started in ((lines * 128 * of_token - 1, 0), (lines * 128 * of_token, 2)):
        monkeypatch.setattr(f"{TextCache.__module__}._MOST_TOGETHER", room)
        for _ in range(3):
            function.loss_and_gradient(batch, prompts)
        assert recorder.started == started


def assert_in_turn(lm: FrozenLM, function: PromptFunction) -> None:
    """Shapes that share their memory in turn, with and without gradient, behind kept texts too."""
    batches = [batch_of("ppwp", "wppp"), batch_of(*["wwwwpp"] * 9)]
    prompts = torch.randn(9, SLOTS, 32, generator=torch.Generator().manual_seed(1))
    plain = single(FrozenLM(network("llama"), shortcuts=PLAIN))
    lm.texts = TextCache(MemoryTier(1 << 30))
    for batch in 3 * batches:
        found = function.loss_and_gradient(batch, prompts)
        assert_same(found, plain.loss_and_gradient(batch, prompts))
        scores = function.log_probabilities(batch, prompts)
        torch.testing.assert_close(
            scores, plain.log_probabilities(batch, prompts), atol=1e-4, rtol=1e-5
        )
    # Rows of the first batch that stand behind a text are computed apart from the others.
    assert lm.prepared is not None and lm.prepared.graphs is not None
    assert lm.prepared.graphs.num_recorded == 2 * 3


def test_several_shapes_in_turn_give_what_plain_passes_give() -> None:
    lm = FrozenLM(network("llama")).prepare()
    recorded(lm)
    assert_in_turn(lm, single(lm))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_graphs_on_a_gpu_give_what_the_cpu_gives(attention: str) -> None:
    lm = FrozenLM(network("llama", attention=attention).cuda()).prepare()
    assert_in_turn(lm, replicated(lm, World(device=torch.device("cuda"))))
