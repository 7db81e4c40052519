"""What a server says of its model: all that a client needs of it, without a weight."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, get_args

import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.options import WeightBits
from ptune_scale.parallel.remote.message import Malformed, pack, require, tensor_of, unpack
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.reading import shown

_FILE = "file."
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Description:
    """A served model.

    Attributes:
        name: as the server's user calls it.
        fingerprint, dtype, weight_bits: of its weights; see ``Backbone``.
        layout: how the server's ranks share it, in words.
        has_cache: see ``PromptFunction``.
        limits: of requests.
        spread, center: of its word embeddings, see ``WordEmbeddings``.
        files: configuration and tokenizer, by name.
    """

    name: str
    fingerprint: str
    dtype: torch.dtype
    weight_bits: WeightBits
    layout: str
    has_cache: bool
    limits: Limits
    spread: float
    center: Tensor
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, backbone: Backbone, layout: str, has_cache: bool, limits: Limits) -> "Description":
        """That of a backbone which is laid out."""
        return cls(
            backbone.name,
            backbone.fingerprint,
            backbone.dtype,
            backbone.weight_bits,
            layout,
            has_cache,
            limits,
            backbone.embeddings.spread,
            backbone.embeddings.center,
            backbone.files(),
        )

    @cached_property
    def identity(self) -> str:
        """What every server of a list, and of a run, has to have in common."""
        digest = hashlib.sha256()
        said = [self.fingerprint, str(self.dtype), self.weight_bits, self.limits.vocab_size]
        digest.update(json.dumps(said).encode())
        for name in sorted(self.files):
            digest.update(name.encode() + hashlib.sha256(self.files[name]).digest())
        return digest.hexdigest()

    def encode(self) -> bytes:
        """As a body."""
        header = {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "dtype": str(self.dtype).removeprefix("torch."),
            "weight_bits": self.weight_bits,
            "layout": self.layout,
            "has_cache": self.has_cache,
            "limits": asdict(self.limits),
            "spread": self.spread,
        }
        files = {
            _FILE + name: torch.frombuffer(bytearray(content), dtype=torch.uint8)
            for name, content in self.files.items()
        }
        return pack(header, {"center": self.center, **files})

    @classmethod
    def decode(cls, body: bytes) -> "Description":
        """What ``encode`` wrote.

        Raises:
            Malformed: it is no description.
        """
        header, tensors = unpack(body)

        def text(name: str) -> str:
            found = header.get(name)
            require(isinstance(found, str), f"{name} is {shown(found)}")
            return str(found)

        bits: Any = text("weight_bits")
        dtype, spread = _DTYPES.get(text("dtype")), header.get("spread")
        if dtype is None or bits not in get_args(WeightBits) or not isinstance(spread, float):
            raise Malformed("what is said of the weights is not as it should be")
        names = [name.removeprefix(_FILE) for name in tensors if name.startswith(_FILE)]
        wrong = [name for name in names if not _NAME.fullmatch(name)]
        require(not wrong and "config.json" in names, f"files are {shown(names)}")
        center = tensor_of(tensors, "center", torch.float32, 1)
        return cls(
            text("name"),
            text("fingerprint"),
            dtype,
            bits,
            text("layout"),
            header.get("has_cache") is True,
            _limits(header.get("limits"), len(center)),
            spread,
            center,
            {
                name: tensor_of(tensors, _FILE + name, torch.uint8, 1).numpy().tobytes()
                for name in names
            },
        )


def _limits(found: Any, hidden_size: int) -> Limits:
    try:
        limits = Limits(**found)
    except TypeError as error:
        raise Malformed(f"limits are {shown(found)}") from error
    values = asdict(limits)
    causal, context = values.pop("is_causal"), values.pop("context")
    numbers = [*values.values(), *([] if context is None else [context])]
    fits = all(type(number) is int and number > 0 for number in numbers) and type(causal) is bool
    require(fits and limits.hidden_size == hidden_size, f"limits are {shown(found)}")
    return limits
