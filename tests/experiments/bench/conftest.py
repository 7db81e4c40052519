"""A tiny Llama that speaks the tiny tokenizer's language, and a case of it."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.facts import read_facts
from tests.superglue.conftest import causal, tiny_causal, tiny_tasks  # noqa: F401 (fixtures)


@pytest.fixture(scope="session")
def tiny_llama(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a causal model: H=32, three layers, grouped queries."""
    directory = tmp_path_factory.mktemp("tiny_llama")
    for path in tiny_gpt2.glob("token*"):
        shutil.copy(path, directory)
    config = LlamaConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(tiny_gpt2)),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_case(tiny_llama: Path, tiny_facts: Path) -> Case:
    """One relation of a few facts, in fp32."""
    flags = {"model": str(tiny_llama), "dtype": "float32", "batch_size": 2}
    flags |= {"data_dir": str(tiny_facts), "relations": "P36"}
    config = BenchSections.from_flags(flags)
    return Case.of(config, read_facts(config.data))
