"""A model is believed only if prompts go along with what its family computes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.network import auto_class
from ptune_scale.backbone.parity import check_parity
from ptune_scale.backbone.small_copy import small_copy
from ptune_scale.errors import UserError

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
}
OPT = {
    "hidden_size": 32,
    "word_embed_proj_dim": 24,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
RIGHT: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "opt": OPT,
    "gemma2": {**SMALL, "sliding_window": 4},
    "gemma3_text": {**SMALL, "sliding_window": 4},
    "mpt": {"d_model": 32, "n_heads": 2, "n_layers": 2},
    "bart": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2},
    "bert": SMALL,
    "albert": {**SMALL, "embedding_size": 16},
    "roberta": {**SMALL, "pad_token_id": 1},
}
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 80}
WRONG: dict[str, dict[str, Any]] = {
    "gemma3n_text": {
        **SMALL,
        **PER_LAYER,
        "num_hidden_layers": 5,
        "num_kv_shared_layers": 0,
        "laurel_rank": 4,
        "activation_sparsity_pattern": None,
        "intermediate_size": [48] * 5,
    },
    "esm": {**SMALL, "mask_token_id": 4, "token_dropout": True, "emb_layer_norm_before": False},
    "gemma4_text": {**SMALL, **PER_LAYER},
}
ROWS = [(5, 6, 7), (8, 9, 10, 11, 12, 13, 14), (5, 6, 20, 21, 22, 23, 24, 25, 26, 27, 28)]


def _save(family: str, settings: dict[str, Any], tokenizer: Path, directory: Path) -> str:
    for path in tokenizer.glob("*token*"):
        shutil.copy(path, directory)
    size = {"vocab_size": 80} if family != "esm" else {"vocab_size": 80, "pad_token_id": 1}
    decoder = {"is_decoder": True, "is_encoder_decoder": False} if family == "bart" else {}
    config = AutoConfig.for_model(family, **settings, **size, **decoder)
    kind = "masked" if family in ("bert", "albert", "roberta", "esm") else "causal"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto_class(kind).from_config(config, attn_implementation="eager")
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
            else:
                parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    model.tie_weights()
    model.save_pretrained(directory)
    return str(directory)


def _tokenizer(family: str, tiny_bert: Path, tiny_gpt2: Path) -> Path:
    return tiny_bert if family in ("bert", "albert", "roberta", "esm") else tiny_gpt2


@pytest.mark.parametrize("family", RIGHT)
def test_families_that_prompts_go_along_with_pass(
    family: str, tiny_bert: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    tokenizer = _tokenizer(family, tiny_bert, tiny_gpt2)
    backbone = load_backbone(_save(family, RIGHT[family], tokenizer, tmp_path))
    check_parity(backbone.lm.prepare(), ROWS, family)
    copy = small_copy(backbone)
    check_parity(copy, ROWS, family)


@pytest.mark.parametrize("family", WRONG)
def test_families_that_use_ids_for_more_than_the_embedding_are_refused(
    family: str, tiny_bert: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    tokenizer = _tokenizer(family, tiny_bert, tiny_gpt2)
    backbone = load_backbone(_save(family, WRONG[family], tokenizer, tmp_path))
    for lm in (backbone.lm, small_copy(backbone)):
        with pytest.raises(UserError, match=r"--self_check off|cannot be given embeddings"):
            check_parity(lm, ROWS, family)


def test_a_model_that_looks_to_the_right_is_refused(tiny_llama: Path) -> None:
    lm = load_backbone(str(tiny_llama)).lm
    for layer in lm.model.model.layers:
        layer.self_attn.is_causal = False
    forward = lm.model.model.forward

    def everything(*args: Any, **kwargs: Any) -> Any:
        length = kwargs.get("input_ids") if kwargs.get("inputs_embeds") is None else None
        length = kwargs["inputs_embeds"].shape[1] if length is None else length.shape[1]
        if kwargs.get("attention_mask") is None:
            kwargs["attention_mask"] = torch.zeros(1, 1, length, length)
        return forward(*args, **kwargs)

    lm.model.model.forward = everything
    with pytest.raises(UserError, match="--self_check off"):
        check_parity(lm, ROWS, "it")


def test_weights_that_are_not_finite_are_named(tiny_llama: Path) -> None:
    lm = load_backbone(str(tiny_llama)).lm
    lm.model.model.layers[1].mlp.up_proj.weight.data[3, 4] = torch.nan
    with pytest.raises(UserError, match=r"model\.layers\.1\.mlp\.up_proj\.weight.*NaN"):
        check_parity(lm, ROWS, "it")


def test_a_run_ends_with_the_reason_unless_the_check_is_off(
    tiny_gpt2: Path, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from ptune_scale.tune.launcher import main

    where = _save("esm", WRONG["esm"], tiny_bert, tmp_path)
    facts = [{"name": word, "kind": "xy"[place % 2]} for place, word in enumerate("abcdefgh")]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in facts))
    flags = ["--train", str(tmp_path / "facts.jsonl"), "--pattern", "{name} [P]*2 is [Y]"]
    flags += ["--answer", "kind", "--model", where, "--dtype", "float32", "--method", "manual"]
    assert main([*flags, "--output_dir", str(tmp_path / "out")]) == 2
    assert "models of type 'esm'" in capsys.readouterr().err
    assert main([*flags, "--output_dir", str(tmp_path / "out2"), "--self_check", "off"]) == 0


def test_the_copy_of_a_large_model_is_cut(tiny_llama: Path) -> None:
    backbone = load_backbone(str(tiny_llama))
    backbone.config.vocab_size, backbone.config.num_hidden_layers = 2**26, 80
    copy = small_copy(backbone)
    assert sum(p.numel() for p in copy.model.parameters()) < 2**20
    check_parity(copy, [(5, 6, 2**25), (7, 8, 9, 10)], "it")


def test_the_copy_has_a_layer_of_each_kind(tmp_path: Path, tiny_gpt2: Path) -> None:
    mixture = {**SMALL, "num_hidden_layers": 5, "first_k_dense_replace": 3, "n_routed_experts": 4}
    mixture |= {"moe_intermediate_size": 16, "num_experts_per_tok": 2, "n_group": 1}
    mixture |= {"topk_group": 1, "q_lora_rank": None, "kv_lora_rank": 8, "qk_rope_head_dim": 8}
    mixture |= {"qk_nope_head_dim": 8, "v_head_dim": 16, "pad_token_id": None}
    del mixture["head_dim"]
    backbone = load_backbone(_save("deepseek_v3", mixture, tiny_gpt2, tmp_path))
    copy = small_copy(backbone)
    assert copy.model.config.num_hidden_layers == 4
    check_parity(copy, ROWS, "it")
