"""Loads a frozen backbone: model, tokenizer, identity."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from ptune_scale.backbone import gguf
from ptune_scale.backbone.fingerprint import fingerprint_files, weight_files
from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.source import ModelSource, find_model
from ptune_scale.errors import UserError
from ptune_scale.tokenization import Kind, Tokenization


@dataclass
class Backbone:
    """A frozen model with what the rest of the system needs to know of it.

    Attributes:
        name: what the user called the model.
        lm: the forward pass; its parameters need no gradient.
        tokens: its tokenizer.
        fingerprint: identity of the weight files, independent of dtype and layout.
        hidden_size: size H of its input embeddings (ALBERT's is smaller than its layers').
        embedding_std: standard deviation of its word embeddings, the scale of a natural input.
        embedding_mean: (H,) fp32, their mean.
    """

    name: str
    lm: FrozenLM
    tokens: Tokenization
    fingerprint: str
    hidden_size: int
    embedding_std: float
    embedding_mean: Tensor

    @property
    def kind(self) -> Kind:
        return self.tokens.kind


def load_backbone(
    model: str | ModelSource,
    *,
    dtype: torch.dtype = torch.float32,
    attention: str = "eager",
) -> Backbone:
    """Load a causal or masked language model, frozen and in eval mode, on the CPU.

    Weights that are stored in ``dtype`` stay mapped from disk until something copies them.

    Args:
        model: "smollm2-135m", a directory, a GGUF file, a Hugging Face id, or a found source.
        attention: Hugging Face attention implementation; on a CPU "eager" was the fastest for
            short cloze sentences.

    Raises:
        UserError: the model is not there, damaged, or neither causal nor masked.
    """
    source = find_model(model) if isinstance(model, str) else model
    path = source.path
    where = str(gguf.converted_directory(path, dtype) if source.is_gguf else path or source.name)
    try:
        config = AutoConfig.from_pretrained(where)
        tokenizer = AutoTokenizer.from_pretrained(where)
        kind = model_kind(config)
        auto = AutoModelForMaskedLM if kind == "masked" else AutoModelForCausalLM
        network = auto.from_pretrained(where, dtype=dtype, attn_implementation=attention)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"model {source.name}: cannot load it: {reason}") from error
    weights = path if path is not None else Path(_hub_snapshot(source.name))
    embedding = network.get_input_embeddings()
    sample = embedding.weight[: 1 << 14].detach().float()
    return Backbone(
        name=source.name,
        lm=FrozenLM(network),
        tokens=Tokenization(tokenizer, kind),
        fingerprint=fingerprint_files(weight_files(weights)),
        hidden_size=embedding.embedding_dim,
        embedding_std=float(sample.std()),
        embedding_mean=sample.mean(dim=0),
    )


def model_kind(config: PretrainedConfig) -> Kind:
    """Causal or masked, by the architecture a checkpoint names, else by what its type offers.

    Raises:
        ValueError: the type has neither head.
    """
    for name in getattr(config, "architectures", None) or ():
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


def _hub_snapshot(name: str) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(name, local_files_only=True)
