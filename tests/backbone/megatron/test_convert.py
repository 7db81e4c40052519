"""Shards to safetensors and back: bit-equal, whole or not at all, wrong requests in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptune_scale.backbone.megatron import MegatronShardSource, load_megatron
from ptune_scale.backbone.megatron.parts import load_part
from ptune_scale.backbone.source import find_model
from ptune_scale.backbone.weights import SafetensorsSource
from ptune_scale.run.convert import main


def convert(source: Path, target: Path, *flags: str) -> int:
    return main(["--from", str(source), "--to", str(target), *flags])


@pytest.fixture(scope="module")
def converted(tiny_megatron, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ANN001
    target = tmp_path_factory.mktemp("convert") / "hf"
    assert convert(tiny_megatron.directory, target, "--max_shard_size", "40KB") == 0
    return target


def test_safetensors_hold_the_merged_tensors_in_files_of_limited_size(
    tiny_megatron,  # noqa: ANN001
    converted: Path,
) -> None:
    source = SafetensorsSource(converted)
    assert source.names() == tiny_megatron.weights.keys()
    for name, tensor in tiny_megatron.weights.items():
        assert source.read(name).dtype == torch.float16
        assert torch.equal(source.read(name), tensor)
    files = sorted(converted.glob("*.safetensors"))
    assert len(files) > 2
    # The embeddings are larger than the limit, and alone in their file.
    assert all(path.stat().st_size < 42_000 for path in files[1:])
    index = json.loads((converted / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in files}


def test_hugging_face_loads_the_converted_directory(tiny_megatron, converted: Path) -> None:  # noqa: ANN001
    direct, own = load_megatron(tiny_megatron.directory, torch.float32)
    model = AutoModelForCausalLM.from_pretrained(
        converted, dtype=torch.float32, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(converted)
    ids = tokenizer("the capital of Norway is", return_tensors="pt")["input_ids"]
    assert ids.tolist() == [own("the capital of Norway is")["input_ids"]]
    assert len(tokenizer) == len(own) and tokenizer.pad_token_id == 1
    with torch.no_grad():
        assert torch.equal(model(ids).logits, direct(ids).logits)
    found = find_model(str(converted))
    assert not found.is_megatron


def test_a_round_trip_is_bit_equal(tiny_megatron, converted: Path, tmp_path: Path) -> None:  # noqa: ANN001
    assert convert(converted, tmp_path / "back", "--num_shards", "8") == 0
    for index in range(8):
        name = f"model-model_part-{index}.pt"
        before = load_part(tiny_megatron.directory / name)["model"]
        after = load_part(tmp_path / "back" / name)["model"]
        # fairseq fills the tied head from the embeddings.
        del before["decoder.output_projection.weight"]
        assert after.keys() == before.keys()
        for key, tensor in before.items():
            assert after[key].dtype == tensor.dtype and torch.equal(after[key], tensor), key
    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        original = (tiny_megatron.directory / name).read_bytes()
        assert (tmp_path / "back" / name).read_bytes() == original


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_other_numbers_of_shards_hold_the_same_model(
    tiny_megatron,  # noqa: ANN001
    converted: Path,
    tmp_path: Path,
    num_shards: int,
) -> None:
    target = tmp_path / "back"
    assert convert(converted, target, "--num_shards", str(num_shards)) == 0
    assert len(list(target.glob("*.pt"))) == num_shards
    model, _ = load_megatron(target, torch.float16)
    for name, tensor in tiny_megatron.weights.items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_written_shards_are_readable_without_mapping(converted: Path, tmp_path: Path) -> None:
    assert convert(converted, tmp_path / "back") == 0
    path = tmp_path / "back" / "model-model_part-3.pt"
    mapped, read = load_part(path)["model"], load_part(path, mapped=False)["model"]
    assert all(torch.equal(read[key], tensor) for key, tensor in mapped.items())


def test_the_format_before_pytorch_1_6_is_converted_and_leaves_nothing_beside(
    tiny_megatron,  # noqa: ANN001
    write_shards,  # noqa: ANN001
    converted: Path,
    tmp_path: Path,
) -> None:
    old = Path(shutil.copytree(tiny_megatron.directory, tmp_path / "old"))
    write_shards(old, tiny_megatron.weights, old_format=True)
    assert convert(old, tmp_path / "new") == 0
    source = SafetensorsSource(tmp_path / "new")
    for name, tensor in tiny_megatron.weights.items():
        assert torch.equal(source.read(name), tensor)
    assert {path.name for path in tmp_path.iterdir()} == {"old", "new"}
    assert not [path for path in (tmp_path / "new").iterdir() if path.is_dir()]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_cast_on_request(tiny_megatron, tmp_path: Path, dtype: str) -> None:  # noqa: ANN001
    assert convert(tiny_megatron.directory, tmp_path / "hf", "--dtype", dtype) == 0
    assert convert(tmp_path / "hf", tmp_path / "back") == 0
    model, _ = load_megatron(tmp_path / "back", getattr(torch, dtype))
    name = "model.layers.1.fc2.weight"
    expected = tiny_megatron.weights[name].to(getattr(torch, dtype))
    assert torch.equal(model.state_dict()[name], expected)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == dtype


def test_tensors_of_different_dtypes_keep_theirs(
    tiny_megatron,  # noqa: ANN001
    write_shards,  # noqa: ANN001
    tmp_path: Path,
) -> None:
    mixed = Path(shutil.copytree(tiny_megatron.directory, tmp_path / "mixed"))
    weights = {
        name: tensor.float() if "layer_norm" in name else tensor
        for name, tensor in tiny_megatron.weights.items()
    }
    write_shards(mixed, weights)
    assert convert(mixed, tmp_path / "hf") == 0
    assert convert(tmp_path / "hf", tmp_path / "back", "--num_shards", "2") == 0
    source = MegatronShardSource(tmp_path / "back")
    for name, tensor in weights.items():
        assert source.read(name).dtype == tensor.dtype
        assert torch.equal(source.read(name), tensor)


def test_a_target_in_use_is_left_alone(
    tiny_megatron,  # noqa: ANN001
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert convert(tiny_megatron.directory, tmp_path) == 2
    assert capsys.readouterr().err.startswith("ptune convert: error: --to")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_shards", "5"], "--num_shards 5 does not divide 8 (num_attention_heads)"),
        (["--num_shards", "0"], "--num_shards 0"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--frm", "x"], "unknown"),
    ],
)
def test_a_wrong_flag_is_one_line_and_writes_nothing(
    converted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    flags: list[str],
    message: str,
) -> None:
    assert convert(converted, tmp_path / "back", *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_size_that_is_none_is_one_line(tiny_megatron, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    assert convert(tiny_megatron.directory, tmp_path / "hf", "--max_shard_size", "big") == 2
    assert "--max_shard_size 'big'" in capsys.readouterr().err


def test_a_failure_half_way_leaves_no_target(
    tiny_megatron,  # noqa: ANN001
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ptune_scale.backbone.megatron import convert as module

    calls = []

    def fail_at_the_second(*args: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_safetensors", fail_at_the_second)
    assert convert(tiny_megatron.directory, tmp_path / "hf", "--max_shard_size", "40KB") == 2
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_directories_are_refused(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert convert(tiny_gpt2, tmp_path / "back") == 2
    assert "model type 'gpt2'" in capsys.readouterr().err
    assert convert(tmp_path, tmp_path / "back") == 2
    assert "neither fairseq shards nor a model directory" in capsys.readouterr().err
    assert convert(tmp_path / "nowhere", tmp_path / "back") == 2
    assert "no such directory" in capsys.readouterr().err


def test_without_a_dictionary_there_is_no_way_back(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = Path(shutil.copytree(converted, tmp_path / "copy"))
    (copy / "dict.txt").unlink()
    assert convert(copy, tmp_path / "back") == 2
    assert "dict.txt is missing" in capsys.readouterr().err
