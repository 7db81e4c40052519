"""Replies: the other side of the waist, (batch, P) -> (losses, dP), as bodies.

Shapes: N rows, R tasks, S slots, H embedding size.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ptune_scale.parallel.generation import Generated
from ptune_scale.parallel.remote.message import pack, require, tensor_of, unpack


def encode_losses(losses: Tensor, gradient: Tensor) -> bytes:
    """The reply to "loss": (R,) and (R, S, H), both fp32."""
    return pack({}, {"losses": losses, "gradient": gradient})


def decode_losses(body: bytes, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """What ``encode_losses`` wrote, of prompts of this shape.

    Raises:
        Malformed: it is no such reply.
    """
    _, tensors = unpack(body)
    losses = tensor_of(tensors, "losses", torch.float32, 1)
    gradient = tensor_of(tensors, "gradient", torch.float32, 3)
    require(gradient.shape == prompts.shape, f"the gradient is {tuple(gradient.shape)}")
    require(len(losses) == len(prompts), f"there are {len(losses)} losses")
    return losses, gradient


def encode_found(found: Tensor) -> bytes:
    """The reply to "ask", (N, ...)."""
    return pack({}, {"found": found})


def decode_found(body: bytes, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """What ``encode_found`` wrote.

    Raises:
        Malformed: it is of another shape or type.
    """
    found = tensor_of(unpack(body)[1], "found", dtype, len(shape))
    require(tuple(found.shape) == shape, f"what was found is {tuple(found.shape)}, want {shape}")
    return found


def encode_written(texts: Sequence[Generated]) -> bytes:
    """The reply to "generate"."""
    return pack(
        {},
        {
            "tokens": torch.tensor([t for text in texts for t in text.tokens], dtype=torch.int32),
            "counts": torch.tensor([len(text.tokens) for text in texts], dtype=torch.int32),
            "scores": torch.tensor(
                [s for text in texts for s in text.log_probabilities], dtype=torch.float64
            ),
            "ended": torch.tensor([text.ended for text in texts]),
        },
    )


def decode_written(body: bytes, count: int) -> list[Generated]:
    """What ``encode_written`` wrote of so many rows.

    Raises:
        Malformed: it is no such reply.
    """
    _, tensors = unpack(body)
    tokens = iter(tensor_of(tensors, "tokens", torch.int32, 1).tolist())
    counts = tensor_of(tensors, "counts", torch.int32, 1).tolist()
    scores = iter(tensor_of(tensors, "scores", torch.float64, 1).tolist())
    ended = tensor_of(tensors, "ended", torch.bool, 1).tolist()
    require(len(counts) == len(ended) == count, f"texts of {len(counts)} rows, want {count}")

    def take(values: Iterator[Any], number: int) -> tuple[Any, ...]:
        taken = tuple(itertools.islice(values, number))
        require(len(taken) == number, "texts are cut off")
        return taken

    return [
        Generated(take(tokens, n), take(scores, n + end), bool(end))
        for n, end in zip(counts, ended, strict=True)
    ]
