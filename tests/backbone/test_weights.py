"""Which files are the model, and what of a hub repository is fetched."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.fingerprint import fingerprint_files
from ptune_scale.backbone.source import download
from ptune_scale.backbone.weights import CannotSlice, SafetensorsSource
from ptune_scale.errors import UserError
from tests.campaigns.damage import JSON_VALUES, UNREADABLE

REPOSITORY = ["config.json", "tokenizer.json", "merges.txt", "README.md", "modeling.py"]
REPOSITORY += ["pytorch_model.bin", "tf_model.h5", "onnx/model.safetensors", "model.gguf"]


def test_of_a_single_file_and_an_index_the_file_is_the_model(tmp_path: Path, tiny_gpt2: Path):
    directory = tmp_path / "model"
    shutil.copytree(tiny_gpt2, directory)
    name = "transformer.wte.weight"
    plain = AutoModelForCausalLM.from_pretrained(directory)
    save_file({name: torch.zeros(3, 3)}, directory / "model-00001-of-00001.safetensors")
    index = {"weight_map": {name: "model-00001-of-00001.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    again = AutoModelForCausalLM.from_pretrained(directory)
    assert torch.equal(again.transformer.wte.weight, plain.transformer.wte.weight)
    assert torch.equal(SafetensorsSource(directory).read(name), plain.transformer.wte.weight)


def test_another_format_is_told_from_damaged_files(tmp_path: Path):
    with pytest.raises(CannotSlice):
        SafetensorsSource(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "gone"}}')
    with pytest.raises(UserError, match="gone is missing") as caught:
        SafetensorsSource(tmp_path)
    assert not isinstance(caught.value, CannotSlice)


def test_a_checkpoint_that_is_no_checkpoint_is_an_error(tmp_path: Path, tiny_gpt2: Path):
    directory = tmp_path / "model"
    shutil.copytree(tiny_gpt2, directory)
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="cannot load it"):
        load_backbone(str(directory)).lm  # noqa: B018


@pytest.mark.parametrize("has_safetensors", [True, False])
def test_one_format_of_the_weights_is_fetched(has_safetensors, tmp_path, monkeypatch):
    files = [*REPOSITORY, *(["model.safetensors", "consolidated.safetensors"] * has_safetensors)]

    def fetch(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        for file in files:
            wanted = any(fnmatch(file, pattern) for pattern in allow_patterns)
            if wanted and not any(fnmatch(file, pattern) for pattern in ignore_patterns):
                (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    fetched = {path.name for path in download("someone/model").iterdir()}
    weights = "model.safetensors" if has_safetensors else "pytorch_model.bin"
    assert fetched == {"config.json", "tokenizer.json", "merges.txt", weights}


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_index_is_taken_or_refused_in_one_line(value: str, tmp_path: Path):
    save_file({"w": torch.zeros(3)}, tmp_path / "a.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    for text in (value, f'{{"weight_map": {value}}}', f'{{"weight_map": {{"w": {value}}}}}'):
        index.write_text(text)
        try:
            SafetensorsSource(tmp_path)
        except UserError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("name", ["model.safetensors", "a.safetensors"])
def test_a_weight_file_that_nobody_can_read_is_named(damage, name: str, tmp_path: Path):
    if name == "a.safetensors":
        index = '{"weight_map": {"w": "a.safetensors"}}'
        (tmp_path / "model.safetensors.index.json").write_text(index)
    save_file({"w": torch.zeros(3)}, tmp_path / name)
    damage(tmp_path / name, Random(0))
    for read in (SafetensorsSource, lambda directory: fingerprint_files([directory / name])):
        with pytest.raises(UserError, match=name):
            read(tmp_path)
