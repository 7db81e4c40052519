"""Small models of a family, which stand in for one: to compare it, and to time its layers."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.loading import Backbone
from ptune_scale.backbone.network import auto_class, body_of, empty_model
from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.errors import UserError
from ptune_scale.reading import one_line

_COPY_PARAMETERS = 1 << 30
_COPY_LAYERS = 2
_CUT_SIZE = 1024
_SIZES = (
    "vocab_size",
    "vocab_size_per_layer_input",
    "intermediate_size",
    "moe_intermediate_size",
    "ffn_dim",
)


def small_copy(backbone: Backbone) -> FrozenLM:
    """A model of the same family with few layers and random weights, in fp32.

    It stands in for one that no rank holds whole, or only in bf16. It has a layer of each kind; its
    vocabulary and the inner sizes of its layers are cut where it would be large.

    Raises:
        UserError: the family cannot be had so.
    """
    reasons = []
    for layers in dict.fromkeys((_layers_of_each_kind(backbone), None)):
        for most in (None, _CUT_SIZE):
            try:
                config = _cut(backbone.config, layers, most)
                empty = empty_model(config, torch.float32)
                if sum(p.numel() for p in empty.parameters()) > _COPY_PARAMETERS:
                    reasons.append("a copy of it would be large")
                    continue
                model = _random(config, backbone, torch.float32, backbone.attention)
                return FrozenLM(model, shortcuts=backbone.shortcuts).prepare()
            except Exception as error:  # not each family can be had with other sizes
                reasons.append(one_line(error))
    raise UserError(f"no small model of its family can be made: {reasons[-1]}")


def thin_copy(
    backbone: Backbone, attention: str, shortcuts: Shortcuts, most_parameters: int
) -> FrozenLM:
    """A model of the same family and sizes with few layers and words, and random weights, to time.

    Raises:
        UserError: the family cannot be had so, or it would have more parameters.
    """
    try:
        layers = _layers_of_each_kind(backbone)
        config = _cut(backbone.config, layers, _CUT_SIZE, ("vocab_size",))
        empty = empty_model(config, backbone.dtype, attention)
        if sum(p.numel() for p in empty.parameters()) > most_parameters:
            raise UserError("a copy of it would be large")
        model = _random(config, backbone, backbone.dtype, attention)
    except Exception as error:  # not each family can be had with other sizes
        raise UserError(f"no thin copy of its family can be made: {one_line(error)}") from error
    return FrozenLM(model, shortcuts=shortcuts)


def _layers_of_each_kind(backbone: Backbone) -> int:
    """How many of the first layers hold one of each kind."""
    types = list(getattr(backbone.config, "layer_types", None) or ())
    parts = body_of(backbone.empty_model()).children()
    layers = max((m for m in parts if isinstance(m, nn.ModuleList)), key=len, default=())
    seen: set[Any] = set()
    needed = _COPY_LAYERS
    for place, layer in enumerate(layers):
        shapes = tuple((name, p.shape) for name, p in layer.named_parameters())
        kind = (shapes, types[place] if place < len(types) else None)
        if kind not in seen:
            seen.add(kind)
            needed = max(needed, place + 1)
    return min(needed, backbone.config.num_hidden_layers)


def _cut(
    config: PretrainedConfig, layers: int | None, most: int | None, names: Sequence[str] = _SIZES
) -> PretrainedConfig:
    """A configuration with fewer layers, and with sizes cut.

    Args:
        layers: None for all.
        most: of the sizes; None as they are.
        names: of the sizes: of the words, and inner ones of layers.
    """
    config = copy.deepcopy(config)
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    if most is not None:
        for name in names:
            size = getattr(config, name, None)
            if isinstance(size, int):
                setattr(config, name, min(size, most))
            elif isinstance(size, list):
                setattr(config, name, [min(one, most) for one in size])
    if (padding := getattr(config, "pad_token_id", None)) is not None:
        config.pad_token_id = padding % config.vocab_size
    return config


def _random(
    config: PretrainedConfig, backbone: Backbone, dtype: torch.dtype, attention: str
) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto_class(backbone.kind).from_config(
            config,
            attn_implementation=attention,
            dtype=dtype,
            trust_remote_code=False,
        )
        for parameter in model.parameters():
            # Other than fresh weights, some of which are small or 0, so that all parts of the
            # model have a say in the logits.
            if parameter.dim() > 1:
                parameter.data.normal_(std=parameter.shape[-1] ** -0.5)
            else:
                parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return model
