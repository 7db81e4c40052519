"""Tiny backbones: one whose word embedding scales its rows, and one in a GGUF file."""

import json
from pathlib import Path

import gguf
import numpy
import pytest
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

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


@pytest.fixture(scope="session", params=["tied", "untied"])
def tiny_gguf(request, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama as a GGUF file, whose layers are 8-bit: H=32, two layers."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    rules = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tokenizer.all_special_tokens)
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in rules["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    chance = numpy.random.default_rng(0)
    wide = {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    shapes = {f"attn_{part}": (32, 32) for part in ("q", "k", "v", "output")} | wide
    matrices = {
        f"blk.{layer}.{part}": shape for layer in range(2) for part, shape in shapes.items()
    }
    matrices["token_embd"] = (len(tokens), 32)
    if request.param == "untied":
        matrices["output"] = (len(tokens), 32)
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, shape in matrices.items():
        values = chance.normal(scale=0.3, size=shape).astype(numpy.float32)
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name in ("output_norm", *(f"blk.{n}.{p}_norm" for n in range(2) for p in ("attn", "ffn"))):
        writer.add_tensor(f"{name}.weight", numpy.ones(32, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
