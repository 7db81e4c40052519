"""Real torchrun runs: a backbone sharded over two ranks gives one process's gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

WORKER = Path(__file__).with_name("zero3_worker.py")
ROOT = Path(__file__).resolve().parents[2]


def _tokenizer(directory: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {chr(97 + i % 26) * (1 + i // 26): i for i in range(64)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="a").save_pretrained(directory)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model_directory(request, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    if request.param == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4))
    else:
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    _tokenizer(directory)
    return directory


def _run(ranks: int, model: Path, out: Path) -> dict:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={ranks}",
        str(WORKER),
        str(model),
        str(out),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


def test_two_zero3_ranks_give_the_gradients_of_one_process(model_directory, tmp_path):
    one = _run(1, model_directory, tmp_path / "one.pt")
    two = _run(2, model_directory, tmp_path / "two.pt")
    assert one["gradient"].abs().max() > 1e-4
    torch.testing.assert_close(two["losses"], one["losses"], atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(two["gradient"], one["gradient"], atol=1e-6, rtol=0)
    assert two["untouched"]
    # Weights whose size is odd are padded by at most one element each.
    assert two["total"] / 2 <= two["local"] <= two["total"] / 2 + 64
    assert two["sum"] <= two["total"] + 128
