"""What a layout cannot do with a model is said before ranks start."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CohereConfig, GraniteConfig, LlamaConfig, Qwen3Config

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, zero3
from ptune_scale.parallel.layout import check, check_backbone, why_whole
from tests.campaigns.damage import JSON_VALUES

SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 65}
SIZES |= {"intermediate_size": 48}
PIPELINE, TENSOR, ZERO3 = Degrees(pipeline=2), Degrees(tensor=2), Degrees(data=2, zero_stage=3)


@pytest.fixture
def changed(small_model, tmp_path: Path) -> Callable[..., str]:
    """A model directory whose weights were changed after they were saved."""

    def change(family: str, action: Callable[[dict[str, Tensor]], None]) -> str:
        directory = tmp_path / "model"
        shutil.copytree(small_model(family), directory)
        weights = load_file(directory / "model.safetensors")
        action(weights)
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        return str(directory)

    return change


def test_a_body_that_scales_its_inputs_is_not_cut_into_stages():
    check(GraniteConfig(**SIZES), PIPELINE)
    with pytest.raises(UserError, match="granite.*scales the input embeddings"):
        check(GraniteConfig(**SIZES, embedding_multiplier=12.0), PIPELINE)
    check(GraniteConfig(**SIZES, embedding_multiplier=12.0), TENSOR)


def test_a_plan_for_parts_that_are_not_there_is_refused():
    config = LlamaConfig(**SIZES)
    config.base_model_pp_plan = {"words": ([], []), "layers": ([], [])}
    with pytest.raises(UserError, match="has no part 'words'"):
        check(config, PIPELINE)


def test_parameters_of_all_heads_outside_the_plan_are_refused():
    check(CohereConfig(**SIZES), TENSOR)
    with pytest.raises(UserError, match=r"q_norm\.weight' for all heads"):
        check(CohereConfig(**SIZES, use_qk_norm=True), TENSOR)
    # As many elements as heads, but of each head the same.
    check(Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=4), TENSOR)


@pytest.mark.parametrize("degrees", [TENSOR, PIPELINE], ids=["tensor", "pipeline"])
def test_checkpoints_that_cannot_be_sliced_are_refused(degrees, small_model):
    check_backbone(load_backbone(str(small_model("llama"))), degrees)
    backbone = load_backbone(str(small_model("llama_bin")))
    check_backbone(backbone, ZERO3)
    with pytest.raises(UserError, match="no model.safetensors.*Use --zero_stage 3"):
        check_backbone(backbone, degrees)


@pytest.mark.parametrize("degrees", [TENSOR, PIPELINE, ZERO3], ids=["tensor", "pipeline", "zero3"])
@pytest.mark.parametrize("rows", [64, 130])
def test_another_shape_than_the_configurations_is_an_error(degrees, rows, changed):
    name = "model.embed_tokens.weight"
    where = changed("llama", lambda weights: weights.update({name: torch.zeros(rows, 32)}))
    with pytest.raises(UserError, match=rf"'{name}' has shape \[{rows}, 32\].*\[65, 32\]"):
        check_backbone(load_backbone(where), degrees)


def test_a_stored_buffer_is_required(changed, small_model):
    assert why_whole(load_backbone(str(small_model("gemma4")))) is None
    where = changed("gemma4", lambda weights: weights.pop("model.layers.2.layer_scalar"))
    backbone = load_backbone(where)
    assert "model.layers.2.layer_scalar" in why_whole(backbone)
    with pytest.raises(UserError, match="layer_scalar"):
        backbone.lm  # noqa: B018


def test_a_missing_weight_is_an_error_for_the_whole_model_too(changed):
    backbone = load_backbone(changed("llama_untied", lambda weights: weights.pop("lm_head.weight")))
    with pytest.raises(UserError, match=r"no weight named 'lm_head\.weight'"):
        backbone.lm  # noqa: B018
    with pytest.raises(UserError, match=r"lm_head\.weight"):
        check_backbone(backbone, PIPELINE)


def test_damaged_files_are_errors_not_another_way_to_load(changed):
    where = changed("llama", lambda weights: None)
    path = Path(where) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    for degrees in (TENSOR, ZERO3):
        with pytest.raises(UserError, match="truncated or damaged"):
            check_backbone(load_backbone(where), degrees)
    with pytest.raises(UserError, match="truncated or damaged"):
        load_backbone(where).lm  # noqa: B018


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_deepspeed_file_is_taken_or_refused_in_one_line(value: str, tmp_path) -> None:
    path = tmp_path / "ds.json"
    good = json.loads(zero3.DEFAULT_CONFIG.read_text())
    zero = good["zero_optimization"]
    texts = [value, *(json.dumps({**good, key: "HERE"}) for key in (*good, "bf16", "x"))]
    texts += [json.dumps({**good, "zero_optimization": {**zero, k: "HERE"}}) for k in (*zero, "x")]
    for text in texts:
        path.write_text(text.replace('"HERE"', value))
        try:
            zero3.read_config(path, torch.float32)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_what_deepspeed_refuses_is_told_before_ranks_start(tmp_path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 3, "stage3_prefetch_bucket_size": "x"}}')
    with pytest.raises(UserError, match="ds.json: refused: .*stage3_prefetch_bucket_size"):
        zero3.read_config(path, torch.float32)
