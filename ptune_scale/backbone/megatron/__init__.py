"""MegatronLM-11B, the largest model of the paper, from its fairseq checkpoint of eight shards.

config.py       sizes, and which layers tensor and pipeline parallelism take apart
model.py        the architecture in plain PyTorch, as a Hugging Face causal model
tensors.py      tensors of a shard: their names in fairseq, the dimension they are split along
parts.py        the files model-model_part-*.pt, opened without running code; old ones rewritten
shards.py       all of them together -> whole tensors, read in slices
tokenizer.py    dict.txt and GPT-2's byte-pair encoding -> a Hugging Face tokenizer
loading.py      a directory of shards -> model and tokenizer in one process
writing.py      safetensors files and fairseq shards, written one tensor at a time
convert.py      shards -> safetensors and back

Importing the package makes the architecture known to ``AutoConfig`` and ``AutoModelForCausalLM``.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from ptune_scale.backbone.megatron.config import MEGATRON_11B, NAMED_CONFIGS, MegatronConfig
from ptune_scale.backbone.megatron.loading import load_megatron
from ptune_scale.backbone.megatron.model import MegatronForCausalLM, MegatronModel
from ptune_scale.backbone.megatron.parts import part_files
from ptune_scale.backbone.megatron.shards import MegatronShardSource
from ptune_scale.backbone.megatron.tokenizer import build_tokenizer

AutoConfig.register(MegatronConfig.model_type, MegatronConfig, exist_ok=True)
AutoModel.register(MegatronConfig, MegatronModel, exist_ok=True)
AutoModelForCausalLM.register(MegatronConfig, MegatronForCausalLM, exist_ok=True)

__all__ = [
    "MEGATRON_11B",
    "NAMED_CONFIGS",
    "MegatronConfig",
    "MegatronForCausalLM",
    "MegatronModel",
    "MegatronShardSource",
    "build_tokenizer",
    "load_megatron",
    "part_files",
]
