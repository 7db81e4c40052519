"""Which models can be a frozen backbone, and why others cannot.

A backbone is given embeddings instead of ids, and what it computes of a row must not depend on how
far the rows beside it made the batch reach. What a configuration or a tokenizer says is looked at
before anything is built from it; what no file says, ``self_check`` finds out.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn
from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel
from transformers.quantizers import AutoHfQuantizer

from ptune_scale.backbone.families import family_of
from ptune_scale.reading import has_file, one_line
from ptune_scale.task.pattern import Kind
from ptune_scale.task.tokenization import Tokenization

_MOST_LAYERS = 10_000
_ADAPTER = "adapter_config.json"
_LISTED = 4
_FILES = (
    "*config.json",
    "*token*",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.safetensors*",
    "pytorch_model*",
    "*.jinja",
)


def check_directory(directory: Path) -> None:
    """Make sure that a model directory holds one model, whose files can be read.

    Raises:
        UserError: a link leads nowhere, or a directory has the name of a file: libraries would take
            it for not there.
        ValueError: an adapter lies beside the model, which some ways to load it apply and some do
            not.
    """
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if any(path.match(pattern) for pattern in _FILES):
            has_file(path)
    if (directory / _ADAPTER).is_file():
        raise ValueError(
            f"{directory / _ADAPTER}: an adapter lies beside the model; merge it into the model's "
            "weights (merge_and_unload of peft), or take its files away"
        )


def check_config(config: PretrainedConfig, kind: Kind) -> None:
    """Make sure that a configuration describes a model that can be prompted.

    Args:
        kind: what ``model_kind`` calls it.

    Raises:
        ValueError: it does not; the message says why.
    """
    layers = getattr(config, "num_hidden_layers", 1)
    if not isinstance(layers, int) or not 1 <= layers <= _MOST_LAYERS:
        raise ValueError(f"config.json: num_hidden_layers is {layers!r}")
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"models of type {config.model_type!r} cannot be prompted: it has an encoder and a "
            "decoder, and answers are read from one model of either"
        )
    padding, size = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if padding is not None and size is not None and not -size <= padding < size:
        raise ValueError(
            f"config.json: pad_token_id is {padding}, but there are {size} words; the first is 0"
        )
    if family_of(config).begins_behind_padding and padding is None:
        raise ValueError(
            "config.json: pad_token_id is missing; positions of this family are counted from it"
        )
    _check_quantization(config)
    if kind == "masked":
        _check_masked(config)


def quantized_by(config: PretrainedConfig) -> str | None:
    """The method by which a checkpoint's weights were stored in fewer bits; None if they were not.

    Raises:
        ValueError: the configuration does not name it.
    """
    told = getattr(config, "quantization_config", None)
    if told is None:
        return None
    method = told.get("quant_method") if isinstance(told, dict) else told.quant_method
    if method is None and isinstance(told, dict) and told.get("load_in_4bit", False):
        method = "bitsandbytes"
    if method is None:
        raise ValueError("config.json: quantization_config names no quant_method")
    return str(getattr(method, "value", method))


def _check_quantization(config: PretrainedConfig) -> None:
    method = quantized_by(config)
    if method is None:
        return
    try:
        quantizer = AutoHfQuantizer.from_config(config.quantization_config, pre_quantized=True)
        quantizer.validate_environment(device_map=None)
    except Exception as error:  # each quantizer says in its own way what it lacks
        raise ValueError(
            f"its weights are quantized by {method}, which cannot be had here: "
            f"{one_line(error)}; take the model that is not quantized, or install that"
        ) from error


def _check_masked(config: PretrainedConfig) -> None:
    family = config.model_type
    architectures = getattr(config, "architectures", None) or ()
    if family == "electra" and "ElectraForPreTraining" in architectures:
        raise ValueError(
            "an ELECTRA discriminator tells true words from replaced ones and predicts none; "
            "use the generator that was trained beside it"
        )
    if unfit := family_of(config).unfit:
        reason = unfit
    elif type(config) not in AutoModelForMaskedLM._model_mapping:
        reason = "transformers has no masked-word head for it"
    elif not _takes_embeddings(config):
        reason = "it takes no embeddings in place of ids, so there is nowhere to put a prompt"
    else:
        return
    raise ValueError(f"models of type {family!r} cannot be prompted: {reason}")


def _takes_embeddings(config: PretrainedConfig) -> bool:
    network = AutoModelForMaskedLM._model_mapping[type(config)]
    return "inputs_embeds" in inspect.signature(network.forward).parameters


def check_tokenizer(tokens: Tokenization) -> None:
    """Make sure that there is a tokenizer, and that it has what the kind of model needs.

    Raises:
        ValueError: it knows no word (what transformers makes of a directory without one), or no
            mask token.
    """
    if not set(tokens.tokenizer.get_vocab()) - set(tokens.tokenizer.all_special_tokens):
        raise ValueError("it has no tokenizer: add tokenizer.json, or the files it is made from")
    if tokens.kind == "masked":
        tokens.mask_token  # noqa: B018 (says what is missing)


def num_logits(model: PreTrainedModel) -> int:
    """Number V of logits of a model with any head."""
    # DeBERTa's later head multiplies with the word embeddings and calls its inner layer the head.
    if not getattr(model.config, "legacy", True):
        return model.get_input_embeddings().weight.shape[0]
    return model.get_output_embeddings().weight.shape[0]


def advice_on_head(config: PretrainedConfig, unused: Iterable[str]) -> str:
    """What to do about a head that was not found among the weights, if that is known.

    Args:
        unused: names of weights that the model has no place for.
    """
    has_later_head = any(name.startswith("lm_predictions.") for name in unused)
    if has_later_head and getattr(config, "legacy", False):
        return (
            '; its head is that of later DeBERTa models: put "legacy": false into its config.json'
        )
    return ""


def check_unread(model: PreTrainedModel, unread: Sequence[str]) -> str | None:
    """What to say about weights of a checkpoint that a model has no place for, if anything.

    Args:
        model: built from the configuration.
        unread: their names in the checkpoint.

    Returns:
        a line that names them; None where there are none.

    Raises:
        ValueError: they are layers beyond those that the configuration speaks of.
    """
    for name in unread:
        if found := re.match(r"(.*?)\.(\d+)\.", name):
            path, number = found.group(1), int(found.group(2))
            layers = _module_list(model, path)
            # Layers that predict further tokens lie behind the others, and are not used.
            further = getattr(model.config, "num_nextn_predict_layers", None) or 0
            if layers is not None and number >= len(layers) + further:
                raise ValueError(
                    f"its config.json makes {len(layers)} of {path}, but the weights hold number "
                    f"{number} too ({name}): they belong to different models"
                )
    if not unread:
        return None
    more = f" and {len(unread) - _LISTED} more" if len(unread) > _LISTED else ""
    return (
        f"{len(unread)} weights of the checkpoint are not used by {type(model).__name__}: "
        f"{', '.join(sorted(unread)[:_LISTED])}{more}"
    )


def _module_list(model: PreTrainedModel, path: str) -> nn.ModuleList | None:
    """The list of layers that a checkpoint calls so, with or without the base model's prefix."""
    prefix = f"{model.base_model_prefix}."
    modules = dict(model.named_modules())
    for name in (path, prefix + path, path.removeprefix(prefix)):
        if isinstance(found := modules.get(name), nn.ModuleList):
            return found
    return None
