"""Cross-entropy of frozen logits, in fp32 a few columns at a time.

Logits (N, V) stay in the backbone's dtype; sums and gradients are computed in fp32 on chunks of
the vocabulary that fit into a cache. No copy of them in fp32 exists at once, and none of the
gradient: it takes the place of the logits, which nobody reads after the loss. PyTorch's own, which
needs all of these, can be asked for instead.

Shapes: N rows, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 8192
"""Columns that are in fp32 at once, on a CPU: what its caches hold."""

_CHUNK_VALUES = 1 << 24
"""Values in fp32 at once on a GPU: there each chunk costs kernels that have to be started."""


def cross_entropy(logits: Tensor, answers: Tensor, *, chunked: bool = True) -> Tensor:
    """Loss of each row, (N,) in fp32, from logits (N, V), whose memory backward may take.

    Args:
        chunked: a few columns at a time; otherwise PyTorch's.

    Raises:
        RuntimeError or IndexError: an answer is out of range.
    """
    if not chunked:
        return F.cross_entropy(logits.float(), answers, reduction="none")
    return _CrossEntropy.apply(logits, answers)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, answers: Tensor) -> Tensor:
        largest = logits.amax(-1, keepdim=True).float()
        total = torch.zeros_like(largest)
        for chunk in logits.split(_columns(logits), dim=-1):
            total += (chunk.float() - largest).exp_().sum(-1, keepdim=True)
        normalizer = total.log_() + largest
        ctx.save_for_backward(logits, answers, normalizer)
        return (normalizer - logits.gather(-1, answers.unsqueeze(-1)).float()).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, answers, normalizer = ctx.saved_tensors
        gradient = gradient.unsqueeze(-1)
        at_answer = logits.gather(-1, answers.unsqueeze(-1)).float() - normalizer
        at_answer = ((at_answer.exp_() - 1) * gradient).to(logits.dtype)
        result = logits.detach()
        for chunk in result.split(_columns(logits), dim=-1):
            chunk.copy_((chunk.float() - normalizer).exp_().mul_(gradient))
        return result.scatter_(-1, answers.unsqueeze(-1), at_answer), None


def _columns(logits: Tensor) -> int:
    if not logits.is_cuda:
        return CHUNK
    return max(CHUNK, _CHUNK_VALUES // max(1, len(logits)))
