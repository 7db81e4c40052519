"""Requests: one side of the waist, (batch, P) -> (losses, dP), as bodies.

A request holds all that it needs but texts that it names, which any server can be told: so any
server of the same model can answer it, and it may be sent again.

Shapes: N rows, R tasks, S slots, H embedding size.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ptune_scale.parallel.remote.asked import (
    Asked,
    decode_loss,
    decode_question,
    encode_asked,
    values_of,
)
from ptune_scale.parallel.remote.message import (
    Malformed,
    TooMuch,
    pack,
    require,
    unpack,
    whole_number,
)
from ptune_scale.parallel.remote.rows import Limits, decode_batch, decode_prompts, encode_batch
from ptune_scale.parallel.remote.texts import KnownTexts, Split, join
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
    def tasks(self) -> list[int]:
        """Those of the batch: only their rows of P are sent."""
        return sorted({row.task for row in self.batch.examples})

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


class Encoded:
    """A request as a body, for servers that know some of its texts.

    Args:
        model: identity of the model that is meant, see ``Description``.

    Attributes:
        texts: names of its texts.

    Raises:
        UserError: a served backbone is not asked so.
    """

    def __init__(self, request: ModelRequest, model: str) -> None:
        tasks = request.tasks
        self._split = Split.of(request.batch)
        header, tensors = encode_batch(self._split.rests, tasks)
        header |= {"kind": request.kind, "model": model}
        if request.asked is not None:
            more, own = encode_asked(request.asked, tasks)
            header, tensors = header | more, tensors | own
        if request.kind == "generate":
            header |= {"max_tokens": request.max_tokens, "stop": sorted(request.stop)}
        self._header = header
        prompts = request.prompts.detach().cpu().float()[tasks]
        self._tensors = {**tensors, "prompts": prompts}

    @property
    def texts(self) -> Sequence[bytes]:
        return self._split.names

    def body(self, known: Collection[bytes] = ()) -> bytes:
        """What is sent.

        Args:
            known: texts that are named; the others are told.
        """
        return pack(self._header, self._tensors | self._split.tensors(known))


class AnotherModel(Malformed):
    """The request is meant for a model that is not served here."""


def decode(body: bytes, model: str, limits: Limits, known: KnownTexts) -> ModelRequest:
    """A request that the model can be given.

    Args:
        known: texts of whoever asks; those of this request are among them then.

    Raises:
        AnotherModel: it is meant for another one.
        Forgotten: a text is named that is not known.
        Malformed: it is not as it should be.
    """
    header, tensors = unpack(body)
    if header.get("model") != model:
        raise AnotherModel("another model is served here than the request is meant for")
    tensors, told = join(tensors, limits, known)
    made = _request(header, tensors, limits)
    known.keep(told)
    return made


def _request(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], limits: Limits
) -> ModelRequest:
    prompts = decode_prompts(tensors, limits)
    batch = decode_batch(header, tensors, prompts, limits)
    match header.get("kind"):
        case "loss":
            return ModelRequest("loss", batch, prompts, decode_loss(header, tensors, batch, limits))
        case "ask":
            asked = decode_question(header, tensors, batch, limits)
            shape, _ = values_of(asked, batch.num_targets)
            count = len(batch) * torch.Size(shape).numel()
            what = f"a reply of {count} numbers is too large: ask in parts"
            require(count <= limits.values, what, TooMuch)
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
        TooMuch,
    )
    return made
