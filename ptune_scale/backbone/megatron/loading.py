"""A directory of shards as a model and a tokenizer, in one process."""

from pathlib import Path

import torch
from accelerate import init_empty_weights
from transformers import PreTrainedTokenizerFast

from ptune_scale.backbone.megatron.model import MegatronForCausalLM
from ptune_scale.backbone.megatron.shards import MegatronShardSource
from ptune_scale.backbone.megatron.tokenizer import build_tokenizer


def load_megatron(
    directory: Path, dtype: torch.dtype, attention: str = "eager"
) -> tuple[MegatronForCausalLM, PreTrainedTokenizerFast]:
    """Load a fairseq Megatron checkpoint on the CPU, in eval mode.

    Each tensor is put together and cast on its own, so that the model is in memory once.

    Args:
        directory: shards, ``dict.txt`` and the files of GPT-2's byte-pair encoding.
        attention: "eager" or "sdpa".

    Raises:
        UserError: a file is missing, damaged or of another model.
    """
    tokenizer = build_tokenizer(directory)
    source = MegatronShardSource(directory)
    source.config._attn_implementation = attention
    with init_empty_weights(include_buffers=False):
        model = MegatronForCausalLM(source.config)
    weights = {name: source.read(name).to(dtype) for name in sorted(source.names())}
    model.load_state_dict(weights, strict=False, assign=True)
    # The head is not stored: it is the embeddings' weight.
    model.tie_weights()
    model.config.dtype = dtype
    return model.eval(), tokenizer
