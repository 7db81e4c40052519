"""The loss in chunks against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from ptune_scale.parallel.chunked_cross_entropy import CHUNK, cross_entropy


@pytest.mark.parametrize("vocabulary", [5, 8, 23])
def test_losses_and_gradients_are_pytorch_s(
    vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{cross_entropy.__module__}.CHUNK", 8)
    random = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(6, vocabulary, generator=random) * 5
    answers = torch.randint(vocabulary, (6,), generator=random)
    weights = torch.rand(6, generator=random)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    # In a model the logits are computed, so that their memory can be taken.
    found = cross_entropy(ours * 1, answers)
    expected = F.cross_entropy(plain, answers, reduction="none")
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    # At an answer that is nearly certain both are the small difference of two numbers near one.
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-6, rtol=1e-5)


def test_half_precision_is_summed_in_full() -> None:
    logits = torch.randn(4, 20000).bfloat16()
    answers = torch.randint(20000, (4,))
    expected = F.cross_entropy(logits.float(), answers, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, answers), expected, atol=1e-5, rtol=1e-5)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[3e4, -3e4, 0.0]]).requires_grad_()
    losses = cross_entropy(logits * 1, torch.tensor([1]))
    losses.sum().backward()
    assert losses.item() == 6e4
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0, 0.0]]))


@pytest.mark.parametrize("chunked", [True, False])
def test_a_copy_in_full_precision_exists_at_once_only_without_chunks(chunked: bool) -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if torch.is_tensor(result) and result.dtype == torch.float32:
                largest = max(largest, result.numel())
            return result

    logits = torch.randn(2, 5 * CHUNK).bfloat16().requires_grad_()
    computed = logits * 1
    with Watch():
        cross_entropy(computed, torch.tensor([0, 1]), chunked=chunked).sum().backward()
    assert largest == (2 if chunked else 10) * CHUNK
