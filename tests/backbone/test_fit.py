"""What a model's files say is believed only where it makes a model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import OPTConfig, Phi3Config, RobertaConfig

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees
from ptune_scale.parallel.layout import check_backbone, why_whole

CONFIG = "config.json"


def edited(source: Path, directory: Path, changes: dict[str, Any], file: str = CONFIG) -> str:
    """A copy of a model whose configuration says something else; None takes a value out."""
    shutil.copytree(source, directory, dirs_exist_ok=True)
    values = json.loads((directory / file).read_text()) | changes
    (directory / file).write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    return str(directory)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3"),
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers is 1000000"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers"),
        ({"pad_token_id": 100_000}, "pad_token_id is 100000"),
        ({"is_encoder_decoder": True}, "an encoder and a decoder"),
        ({"hidden_act": "nosuch"}, "'nosuch' is no value"),
        ({"rope_parameters": {"rope_type": "nosuch"}}, "nosuch"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized by gptq"),
        ({"quantization_config": {"bits": 4}}, "quant_method"),
        (
            {
                "model_type": "mine",
                "auto_map": {"AutoConfig": "code.Mine", "AutoModelForCausalLM": "code.Model"},
            },
            "such code is not run",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_configuration_that_makes_no_model_is_one_line(
    changes: dict, words: str, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words) as refused:
        check_backbone(load_backbone(edited(tiny_llama, tmp_path, changes)), Degrees())
    assert "\n" not in str(refused.value)


ODD: list[Any] = [0, -1, 10**7, 10**30, 1.5, "x", "", [], {}, [1, "2"], {"a": 1}, True, False]


def test_odd_values_anywhere_in_a_configuration_are_one_line_or_make_no_difference(
    tiny_llama: Path, tmp_path: Path
) -> None:
    chance = Random(0)
    keys = sorted(json.loads((tiny_llama / CONFIG).read_text()))
    for number in range(60):
        changes = {chance.choice(keys): chance.choice(ODD)}
        try:
            where = edited(tiny_llama, tmp_path / str(number), changes)
            backbone = load_backbone(where)
            check_backbone(backbone, Degrees())
            backbone.lm  # noqa: B018
        except UserError as error:
            assert "\n" not in str(error), changes
        except Exception as error:  # what this test is about
            pytest.fail(f"{changes}: {error!r}")


def test_code_that_comes_with_a_model_is_not_run(tiny_llama: Path, tmp_path: Path) -> None:
    proof = tmp_path / "it ran"
    mapped = {"AutoConfig": "code_of_its_own.Mine"}
    where = Path(edited(tiny_llama, tmp_path / "m", {"model_type": "mine", "auto_map": mapped}))
    (where / "code_of_its_own.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    with pytest.raises(UserError, match="such code is not run"):
        load_backbone(str(where))
    assert not proof.exists()


def test_a_directory_without_a_tokenizer_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llama, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*token*"):
        path.unlink()
    with pytest.raises(UserError, match="no tokenizer"):
        load_backbone(str(tmp_path))


def test_a_masked_model_needs_a_mask_token(tiny_bert: Path, tmp_path: Path) -> None:
    where = edited(tiny_bert, tmp_path, {"mask_token": None}, "tokenizer_config.json")
    with pytest.raises(UserError, match="no mask token"):
        load_backbone(where)


def test_positions_behind_padding_need_its_id() -> None:
    config = RobertaConfig(pad_token_id=1, max_position_embeddings=40)
    assert context_length(config) == 38


def test_an_adapter_beside_a_model_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llama, tmp_path, dirs_exist_ok=True)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter_config\.json: an adapter lies beside"):
        load_backbone(str(tmp_path))


def test_attention_that_a_family_lacks_is_one_line(small_gemma2: Path) -> None:
    with pytest.raises(UserError, match="no sdpa attention; use eager"):
        check_backbone(load_backbone(str(small_gemma2), attention="sdpa"), Degrees())


@pytest.fixture
def small_gemma2(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(edited(tiny_llama, tmp_path, {"model_type": "gemma2", "architectures": None}))


@pytest.fixture
def changed(tiny_llama: Path, tmp_path: Path) -> Callable[..., str]:
    """A model whose weights were changed after it was saved."""

    def change(action: Callable[[dict], None], **config: Any) -> str:
        where = edited(tiny_llama, tmp_path, config)
        weights = load_file(f"{where}/model.safetensors")
        action(weights)
        save_file(weights, f"{where}/model.safetensors", metadata={"format": "pt"})
        return where

    return change


def test_layers_that_the_configuration_does_not_speak_of_are_refused(changed: Callable) -> None:
    where = changed(lambda weights: None, num_hidden_layers=1)
    with pytest.raises(UserError, match=r"makes 1 of model\.layers, but .* number 1 too"):
        check_backbone(load_backbone(where), Degrees())
    with pytest.raises(UserError, match=r"makes 1 of model\.layers"):
        load_backbone(where).lm  # noqa: B018


def test_other_weights_that_nobody_reads_are_named(changed: Callable) -> None:
    backbone = load_backbone(changed(lambda w: w.update({"score.weight": torch.zeros(2, 2)})))
    check_backbone(backbone, Degrees())
    assert "1 weights of the checkpoint are not used" in backbone.unread
    assert "score.weight" in backbone.unread
    backbone.unread = None
    backbone.lm  # noqa: B018
    assert "score.weight" in backbone.unread


def test_tables_that_a_model_computes_are_not_missed(changed: Callable) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    backbone = load_backbone(changed(lambda weights: weights.update({name: torch.zeros(8)})))
    assert why_whole(backbone) is None
    assert backbone.unread is None


@pytest.mark.parametrize("equal", [True, False])
def test_tied_weights_that_are_there_twice_are_sliced_only_if_they_are_equal(
    equal: bool, changed: Callable
) -> None:
    def add_head(weights: dict) -> None:
        words = weights["model.embed_tokens.weight"]
        weights["lm_head.weight"] = words.clone() if equal else words + 1

    backbone = load_backbone(changed(add_head, tie_word_embeddings=True))
    reason = why_whole(backbone)
    assert reason is None if equal else "two that differ" in reason
    check_backbone(backbone, Degrees(data=2, zero_stage=3))


def test_weights_in_fewer_bits_are_not_sliced(tiny_llama: Path, tmp_path: Path) -> None:
    fp8 = {"quant_method": "fp8", "weight_block_size": [8, 8]}
    backbone = load_backbone(edited(tiny_llama, tmp_path, {"quantization_config": fp8}))
    assert "quantized by fp8" in why_whole(backbone)
    with pytest.raises(UserError, match="quantized by fp8"):
        check_backbone(backbone, Degrees(tensor=2))


def test_the_context_ends_where_rotary_positions_begin_to_depend_on_the_longest_row() -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.0] * 48}
    config = Phi3Config(
        max_position_embeddings=4096,
        original_max_position_embeddings=512,
        rope_parameters={**rope, "rope_theta": 1e4},
        pad_token_id=0,
    )
    assert context_length(config) == 512
    assert context_length(OPTConfig(max_position_embeddings=77)) == 77
