"""Networks without weights: built from a configuration alone, and what a checkpoint calls them."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from ptune_scale.backbone.weights import CannotSlice, WeightSource
from ptune_scale.task.pattern import Kind


def empty_model(
    config: PretrainedConfig, dtype: torch.dtype, attention: str = "eager"
) -> PreTrainedModel:
    """A model with parameters on the meta device; its buffers (rotary tables) are real.

    Raises:
        ValueError: the configuration's type has no language-modelling head.
    """
    with init_empty_weights(include_buffers=False):
        auto = auto_class(model_kind(config))
        # The model writes attention and dtype into its configuration, which is the caller's.
        model = auto.from_config(
            copy.deepcopy(config),
            attn_implementation=attention,
            dtype=dtype,
            trust_remote_code=False,
        )
    model.tie_weights()
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model.eval().requires_grad_(False)


def sample_model(config: PretrainedConfig) -> PreTrainedModel:
    """An empty model of the same family and sizes with one layer, to look at its parts.

    Families whose configuration does not allow for a single layer get all of them.
    """
    small = copy.deepcopy(config)
    try:
        small.num_hidden_layers = 1
        if getattr(small, "layer_types", None):
            small.layer_types = small.layer_types[:1]
        return empty_model(small, torch.float32)
    except Exception:  # every family checks its configuration in its own way
        return empty_model(config, torch.float32)


def body_of(model: PreTrainedModel) -> nn.Module:
    """The part of a model whose output its head is given.

    That is the innermost model around the word embeddings: heads of some families (OPT's, Llama
    4's) call it past the modules around it.
    """
    try:
        words = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # a later stage, which has none any more
        return model.base_model
    around = [
        module
        for module in model.modules()
        if isinstance(module, PreTrainedModel)
        and module is not model
        and any(inner is words for inner in module.modules())
    ]
    return around[-1] if around else model.base_model


def persistent_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that checkpoints hold next to the parameters, with their names."""
    for path, module in model.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield f"{path}.{name}".removeprefix("."), buffer


def may_lack(model: PreTrainedModel, name: str) -> bool:
    """Whether checkpoints of a family need not hold a tensor: the model computes it by itself."""
    patterns = model._keys_to_ignore_on_load_missing or ()
    return any(re.search(pattern, name) for pattern in patterns)


def auto_class(kind: Kind) -> Any:
    """The class of transformers that makes models of a kind."""
    return AutoModelForMaskedLM if kind == "masked" else AutoModelForCausalLM


def parameter_name(model: PreTrainedModel, parameter: Tensor) -> str:
    """The name of one of a model's parameters."""
    return next(n for n, p in model.named_parameters() if p is parameter)


def is_left_behind(model: PreTrainedModel, name: str) -> bool:
    """Whether a tensor is none of a model's weights: a table that it computes, or known of its
    family to be in checkpoints of other uses."""
    patterns = model._keys_to_ignore_on_load_unexpected or ()
    if any(re.search(pattern, name) for pattern in patterns):
        return True
    parts = _layers_apart(name)
    return any(_layers_apart(buffer) == parts for buffer, _ in model.named_buffers())


def _layers_apart(name: str) -> str:
    """The end of a name, by which a table is known whatever layer or model it belongs to."""
    return ".".join(name.split(".")[-2:])


def stored_names(
    weights: WeightSource, model: PreTrainedModel, names: tuple[str, ...], *, at_least: int = 1
) -> list[str]:
    """What a checkpoint calls a parameter or buffer; several names where it has tied ones twice.

    Checkpoints of a bare base model lack the prefix of its head's model, and the other way round.

    Args:
        names: all names of the parameter in ``model``; tied weights have several.
        at_least: how many there should be.

    Raises:
        CannotSlice: it is not in the checkpoint under any of them.
    """
    prefix = f"{model.base_model_prefix}."
    stored = weights.names()
    found = []
    for name in names:
        candidates = (name, name.removeprefix(prefix), prefix + name)
        found += [candidate for candidate in candidates if candidate in stored][:1]
    found = list(dict.fromkeys(found))
    if len(found) >= at_least:
        return found
    raise CannotSlice(
        f"the checkpoint has no weight named {names[0]!r}: it lacks it, or has it under a name or "
        "in a form that transformers converts while it loads the whole model, which cannot be done "
        "slice by slice"
    )


def model_kind(config: PretrainedConfig) -> Kind:
    """Causal or masked, by the architecture a checkpoint names, else by what its type offers.

    Raises:
        ValueError: the type has neither head.
    """
    for name in getattr(config, "architectures", None) or ():
        if name.endswith("WithLMHeadModel"):  # XLM and FlauBERT have one class for both
            return "causal" if config.causal else "masked"
        if name.endswith(("ForMaskedLM", "ForPreTraining", "WithLMHead")):
            return "masked"
        if name.endswith(("ForCausalLM", "LMHeadModel")):
            return "causal"
    decoder = getattr(config, "is_decoder", False)
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decoder:
        return "masked"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    raise ValueError(f"model type {config.model_type!r} has no language-modelling head")
