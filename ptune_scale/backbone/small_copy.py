"""A small model of a family, which stands in for one that no rank holds whole."""

import copy
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.loading import Backbone
from ptune_scale.backbone.network import auto_class, body_of, empty_model
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
                return FrozenLM(_random(config, backbone), shortcuts=backbone.shortcuts).prepare()
            except Exception as error:  # not each family can be had with other sizes
                reasons.append(one_line(error))
    raise UserError(f"no small model of its family can be made: {reasons[-1]}")


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


def _cut(config: PretrainedConfig, layers: int | None, most: int | None) -> PretrainedConfig:
    """A configuration with fewer layers, and with sizes cut.

    Args:
        layers: None for all.
        most: of the words, and of the inner sizes of layers; None as they are.
    """
    config = copy.deepcopy(config)
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    if most is not None:
        for name in _SIZES:
            size = getattr(config, name, None)
            if isinstance(size, int):
                setattr(config, name, min(size, most))
            elif isinstance(size, list):
                setattr(config, name, [min(one, most) for one in size])
    if (padding := getattr(config, "pad_token_id", None)) is not None:
        config.pad_token_id = padding % config.vocab_size
    return config


def _random(config: PretrainedConfig, backbone: Backbone) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto_class(backbone.kind).from_config(
            config,
            attn_implementation=backbone.attention,
            dtype=torch.float32,
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
