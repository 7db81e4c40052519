"""A tiny backbone whose word embedding scales its rows."""

from pathlib import Path

import pytest
from transformers import Gemma2Config, Gemma2ForCausalLM

from tests.conftest import WORDS
from tests.tiny import byte_pairs, save


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a causal model: H=32, two layers, embeddings times the root of H."""
    fast = byte_pairs(" ".join(WORDS))
    config = Gemma2Config(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=0,
    )
    return save(Gemma2ForCausalLM, config, fast, tmp_path_factory.mktemp("tiny_gemma"))
