"""Word embeddings read from a checkpoint are what the model's layers get for these words."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BioGptConfig,
    BioGptForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
)

from ptune_scale.backbone import load_backbone

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
SCALING = {
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        {"num_key_value_heads": 1, "head_dim": 16, **SIZES},
    ),
    "biogpt": (BioGptForCausalLM, BioGptConfig, {"scale_embedding": True, **SIZES}),
}


@pytest.mark.parametrize("family", SCALING)
def test_what_an_embedding_module_multiplies_by_is_in_them(family, tiny_gpt2: Path, tmp_path: Path):
    make_model, make_config, sizes = SCALING[family]
    for path in tiny_gpt2.glob("token*"):
        shutil.copy(path, tmp_path)
    vocab_size = len(AutoTokenizer.from_pretrained(tiny_gpt2))
    torch.manual_seed(0)
    make_model(make_config(vocab_size=vocab_size, **sizes)).save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    module = backbone.lm.model.get_input_embeddings()
    words = [3, 1, 40]
    given = module(torch.tensor(words)).detach()
    assert not torch.allclose(given, module.weight[words])
    torch.testing.assert_close(backbone.embeddings.of(words), given)
    torch.testing.assert_close(backbone.embeddings.sample[words], given)
