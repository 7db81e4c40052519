"""Everything that can be found wrong with a server before ranks meet."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.plan.choose import Work, open_in_layout
from ptune_scale.run.config import PromptConfig
from ptune_scale.serve.access import Person, read_people
from ptune_scale.serve.config import ServeConfig

_LIBRARIES = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "prometheus_client": "prometheus-client",
}
"""By module, what to install."""

_LONG_ROW = 256
"""Tokens, roughly: a layout that is not given is chosen by it."""


@dataclass(frozen=True)
class CheckedServer:
    """What a server needs.

    Attributes:
        backbone: opened; none of its weights is loaded.
        people: who may ask; empty for everybody.
        limits: of requests.
    """

    config: ServeConfig
    degrees: Degrees
    backbone: Backbone
    people: tuple[Person, ...]
    limits: Limits


def check(config: ServeConfig) -> CheckedServer:
    """Open the model, and see whether it can be served.

    Raises:
        UserError: the first thing that is wrong.
    """
    missing = [pip for name, pip in _LIBRARIES.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"serving needs: pip install {' '.join(missing)}")
    tokens = config.address.tokens
    people = read_people(Path(tokens)) if tokens else ()
    capacity = config.capacity
    work = Work(rows=max(1, capacity.pass_tokens // _LONG_ROW), length=_LONG_ROW)
    degrees, backbone = open_in_layout(
        config.model, config.parallel, PromptConfig(encoder="none"), work
    )
    limits = Limits(
        words=backbone.embeddings.size,
        vocab_size=backbone.vocab_size,
        hidden_size=backbone.hidden_size,
        context=context_length(backbone.config),
        is_causal=backbone.kind == "causal",
        request_tokens=capacity.request_tokens,
        request_bytes=capacity.request_mib << 20,
        pass_tokens=capacity.pass_tokens,
        pass_targets=capacity.pass_targets,
        written_tokens=capacity.written_tokens,
    )
    return CheckedServer(config, degrees, backbone, people, limits)
