"""A served model as the rest of the system knows it: everything but its weights.

Shapes: V vocabulary, H embedding size.
"""

import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ptune_scale.backbone.embeddings import WordEmbeddings
from ptune_scale.backbone.loading import Backbone
from ptune_scale.backbone.source import ModelSource
from ptune_scale.errors import UserError
from ptune_scale.parallel.remote.client import Plain, Servers
from ptune_scale.parallel.remote.description import Description
from ptune_scale.parallel.remote.message import pack, require, tensor_of, unpack


class ServedBackbone(Backbone):
    """A model that servers hold.

    Args:
        servers: all of the same model.

    Raises:
        UserError: they refuse, or what they say of the model cannot be used.
        NoServer: none answers.
    """

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.description = servers.describe()
        said = self.description
        with tempfile.TemporaryDirectory() as scratch:
            for name, content in said.files.items():
                (Path(scratch) / name).write_bytes(content)
            source = ModelSource(said.name, Path(scratch))
            super().__init__(source, said.dtype, "eager", weight_bits=said.weight_bits)
        self.fingerprint = said.fingerprint
        if (self.hidden_size, self.vocab_size) != (said.limits.hidden_size, said.limits.vocab_size):
            raise UserError(
                f"backbone {', '.join(servers.urls)}: its configuration does not fit its sizes; "
                "give client and server the same versions of ptune_scale and transformers"
            )

    @property
    def served_by(self) -> str:
        return f"{', '.join(self.servers.urls)}, layout {self.description.layout}"

    @property
    def is_loaded(self) -> bool:
        """Somewhere else, where it stays as it is."""
        return True

    @cached_property
    def embeddings(self) -> WordEmbeddings:
        """Its word embeddings, asked for as they are needed."""
        return ServedEmbeddings(self.servers, self.description)

    def load_model(self) -> PreTrainedModel:
        self._refuse()

    @property
    def lm(self) -> Any:
        self._refuse()

    @property
    def weights(self) -> Any:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError(
            f"model {self.name} is served by {', '.join(self.servers.urls)}: its weights are not "
            "here; leave out --backbone and give --model for what needs them"
        )


class ServedEmbeddings(WordEmbeddings):
    """Word embeddings of a served model."""

    def __init__(self, servers: Servers, said: Description) -> None:
        super().__init__(said.limits.words, lambda start, stop: self.of(range(start, stop)))
        self.center, self.spread = said.center, said.spread
        self._servers = servers
        self._model = said.identity
        self._at_a_time = said.limits.words_at_a_time

    def of(self, tokens: Iterable[int]) -> Tensor:
        ids = torch.tensor(list(tokens), dtype=torch.int32)
        return torch.cat([self._fetch(part) for part in ids.split(self._at_a_time)])

    def _fetch(self, ids: Tensor) -> Tensor:
        def decode(body: bytes) -> Tensor:
            found = tensor_of(unpack(body)[1], "words", torch.float32, 2)
            require(found.shape == (len(ids), len(self.center)), "words are of another shape")
            return found

        body = pack({"kind": "words", "model": self._model}, {"tokens": ids})
        return self._servers.ask("/v1/words", Plain(body), decode)


def open_served(urls: str, token: str = "", patience: float = 300.0) -> ServedBackbone:
    """The model behind one or several addresses, see ``Servers``.

    Raises:
        UserError: an address is none, or the servers refuse.
        NoServer: none answers.
    """
    return ServedBackbone(Servers(urls, token, patience))
