"""Requests and their replies: the waist, (batch, P) -> (losses, dP), as bodies.

A request holds all that it needs: a server remembers nothing between two of them, so any server of
the same model can answer it, and it may be sent again.

Shapes: N rows, R tasks, S slots, H embedding size.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ptune_scale.parallel.generation import Generated
from ptune_scale.parallel.remote.asked import (
    Asked,
    decode_loss,
    decode_question,
    encode_asked,
    values_of,
)
from ptune_scale.parallel.remote.message import (
    Malformed,
    pack,
    require,
    tensor_of,
    unpack,
    whole_number,
)
from ptune_scale.parallel.remote.rows import Limits, decode_batch, decode_prompts, encode_batch
from ptune_scale.reading import shown
from ptune_scale.task.example import Batch

RequestKind = Literal["loss", "ask", "generate"]
"""Losses and dP; what a question finds in each row; what the model writes behind each row."""


@dataclass(frozen=True)
class ModelRequest:
    """What a server is asked.

    Attributes:
        batch: whose tasks are rows of ``prompts``.
        prompts: (R, S, H) fp32.
        asked: what is minimized, or the question; None to generate.
        max_tokens, stop: see ``PromptFunction.generate``.
    """

    kind: RequestKind
    batch: Batch
    prompts: Tensor
    asked: Asked | None = None
    max_tokens: int = 0
    stop: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows, with those that may be written behind them."""
        return self.batch.num_tokens + len(self.batch) * self.max_tokens

    @property
    def longest(self) -> int:
        """Tokens of the longest row, with those that may be written behind it."""
        return max(row.num_tokens for row in self.batch.examples) + self.max_tokens

    def owned_by(self, owner: str) -> "ModelRequest":
        """The same, asked by somebody: what is kept of its texts is kept for them alone."""
        rows = tuple(replace(row, owner=owner) for row in self.batch.examples)
        return replace(self, batch=replace(self.batch, examples=rows))

    def rows(self, index: Sequence[int]) -> "ModelRequest":
        """The same asked of some of the rows."""
        return replace(self, batch=self.batch.rows(index))


def encode(request: ModelRequest, model: str) -> tuple[bytes, list[int]]:
    """The body of a request, and which tasks of P are in it: those of the batch.

    Args:
        model: identity of the model that is meant, see ``Description``.

    Raises:
        UserError: a served backbone is not asked so.
    """
    tasks = sorted({row.task for row in request.batch.examples})
    header, tensors = encode_batch(request.batch, tasks)
    header |= {"kind": request.kind, "model": model}
    if request.asked is not None:
        more, own = encode_asked(request.asked, tasks)
        header, tensors = header | more, tensors | own
    if request.kind == "generate":
        header |= {"max_tokens": request.max_tokens, "stop": sorted(request.stop)}
    prompts = request.prompts.detach().cpu().float()[tasks]
    return pack(header, {**tensors, "prompts": prompts}), tasks


class AnotherModel(Malformed):
    """The request is meant for a model that is not served here."""


def decode(body: bytes, model: str, limits: Limits) -> ModelRequest:
    """A request that the model can be given.

    Raises:
        AnotherModel: it is meant for another one.
        Malformed: it is not as it should be.
    """
    header, tensors = unpack(body)
    if header.get("model") != model:
        raise AnotherModel("another model is served here than the request is meant for")
    prompts = decode_prompts(tensors, limits)
    batch = decode_batch(header, tensors, prompts, limits)
    match header.get("kind"):
        case "loss":
            return ModelRequest("loss", batch, prompts, decode_loss(header, tensors, batch, limits))
        case "ask":
            asked = decode_question(header, tensors, batch, limits)
            shape, _ = values_of(asked, batch.num_targets)
            count = len(batch) * torch.Size(shape).numel()
            require(count <= limits.values, f"a reply of {count} numbers is too large")
            return ModelRequest("ask", batch, prompts, asked)
        case "generate":
            return _generation(header, batch, prompts, limits)
    raise Malformed(f"kind is {shown(header.get('kind'))}; there are loss, ask, generate")


def _generation(
    header: Mapping[str, Any], batch: Batch, prompts: Tensor, limits: Limits
) -> ModelRequest:
    require(limits.is_causal, "a masked model cannot write behind a row")
    most = whole_number(header, "max_tokens", 0, limits.longest)
    require(
        most <= limits.written_tokens,
        f"max_tokens {most} is more than the {limits.written_tokens} that are written behind a "
        "row (--written_tokens of the server)",
    )
    stop = header.get("stop")
    fits = isinstance(stop, list) and len(stop) <= limits.vocab_size
    fits = fits and all(type(t) is int and 0 <= t < limits.vocab_size for t in stop or ())
    require(fits, f"stop must be token ids; got {shown(stop)}")
    made = ModelRequest(
        "generate", replace(batch, group_size=1), prompts, None, most, tuple(stop or ())
    )
    require(
        made.num_tokens <= limits.request_tokens,
        f"{made.num_tokens} tokens to read and write are more than the {limits.request_tokens} of "
        "a request: ask in parts",
    )
    return made


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
