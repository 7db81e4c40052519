"""Shards are read as whole tensors in any slices, and what is wrong with them is named."""

import argparse
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from ptune_scale.backbone.fingerprint import fingerprint_files, weight_files
from ptune_scale.backbone.megatron import MegatronShardSource
from ptune_scale.backbone.megatron.tensors import split_dim
from ptune_scale.backbone.source import find_model
from ptune_scale.errors import UserError


@pytest.fixture
def copy(tiny_megatron, tmp_path: Path) -> Path:  # noqa: ANN001
    """The tiny model's directory, to be damaged."""
    return Path(shutil.copytree(tiny_megatron.directory, tmp_path / "copy"))


def part(directory: Path, index: int) -> Path:
    return directory / f"model-model_part-{index}.pt"


def change(path: Path, **tensors: torch.Tensor | None) -> None:
    """Replace or remove tensors of a shard; a name is a key's end with "__" for "."."""
    content = torch.load(path, weights_only=False)
    for name, tensor in tensors.items():
        key = f"decoder.{name.replace('__', '.')}"
        if tensor is None:
            del content["model"][key]
        else:
            content["model"][key] = tensor
    torch.save(content, path)


def test_merged_tensors_are_the_original(tiny_megatron) -> None:  # noqa: ANN001
    source = MegatronShardSource(tiny_megatron.directory)
    assert source.names() == tiny_megatron.weights.keys()
    for name, tensor in tiny_megatron.weights.items():
        assert source.shape(name) == tensor.shape
        assert source.read(name).dtype == torch.float16
        assert torch.equal(source.read(name), tensor)


def test_sizes_come_from_settings_and_tensors(tiny_megatron) -> None:  # noqa: ANN001
    config = MegatronShardSource(tiny_megatron.directory).config
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (512, 48, 96)
    assert (config.num_hidden_layers, config.num_attention_heads) == (2, 8)
    assert config.max_position_embeddings == 64


@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 16])
def test_eight_shards_are_split_anew_over_any_number_of_ranks(tiny_megatron, ranks: int) -> None:  # noqa: ANN001
    source = MegatronShardSource(tiny_megatron.directory)
    for name, tensor in tiny_megatron.weights.items():
        for dim in range(tensor.dim()):
            for rank, expected in enumerate(tensor.chunk(ranks, dim)):
                size = tensor.shape[dim] // ranks
                read = source.read(name, dim, rank * size, (rank + 1) * size)
                assert read.is_contiguous()
                assert torch.equal(read, expected), (name, dim, rank)


def test_slices_across_shards_and_flat_slices_are_exact(tiny_megatron) -> None:  # noqa: ANN001
    source = MegatronShardSource(tiny_megatron.directory)
    for name, tensor in tiny_megatron.weights.items():
        for dim, length in enumerate(tensor.shape):
            start, stop = length // 5, length - length // 7
            read = source.read(name, dim, start, stop)
            assert torch.equal(read, tensor.narrow(dim, start, stop - start))
        total = tensor.numel()
        start, stop = int(total * Fraction(3, 11)), int(total * Fraction(9, 11))
        assert torch.equal(source.read_flat(name, start, stop), tensor.flatten()[start:stop])


def test_a_slice_beyond_the_end_is_cut_off(tiny_megatron) -> None:  # noqa: ANN001
    source = MegatronShardSource(tiny_megatron.directory)
    for name, tensor in tiny_megatron.weights.items():
        for dim, length in enumerate(tensor.shape):
            rest = source.read(name, dim, length - 3, length + 3)
            assert torch.equal(rest, tensor.narrow(dim, length - 3, 3))
            nothing = source.read(name, dim, length + 1, length + 3)
            assert nothing.shape == tensor.narrow(dim, 0, 0).shape


def test_a_slice_touches_only_the_shards_that_hold_it(tiny_megatron) -> None:  # noqa: ANN001
    source = MegatronShardSource(tiny_megatron.directory)
    # Any use of the other seven would now fail.
    source._parts = [{}] * 3 + [source._parts[3]] + [{}] * 4
    for name, tensor in tiny_megatron.weights.items():
        dim = split_dim(name)
        if dim is not None:
            size = tensor.shape[dim] // 8
            assert torch.equal(source.read(name, dim, 3 * size, 4 * size), tensor.chunk(8, dim)[3])


def test_what_is_read_may_be_changed_without_changing_the_file(copy: Path) -> None:
    name = "model.layers.0.fc2.bias"
    MegatronShardSource(copy).read(name).zero_()
    assert MegatronShardSource(copy).read(name).abs().sum() > 0


@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_any_number_of_shards_and_the_oldest_keys_are_read(
    tiny_megatron,  # noqa: ANN001
    write_shards,  # noqa: ANN001
    tmp_path: Path,
    num_parts: int,
) -> None:
    write_shards(tmp_path, tiny_megatron.weights, num_parts=num_parts, old_keys=True)
    shutil.copy(tiny_megatron.directory / "dict.txt", tmp_path)
    source = MegatronShardSource(tmp_path)
    for name, tensor in tiny_megatron.weights.items():
        assert torch.equal(source.read(name), tensor)


def test_replicas_that_drifted_by_rounding_are_accepted(copy: Path) -> None:
    bias = MegatronShardSource(copy).read("model.layers.1.fc2.bias")
    change(part(copy, 5), layers__1__fc2__bias=bias * 1.01)
    assert torch.equal(MegatronShardSource(copy).read("model.layers.1.fc2.bias"), bias)


def refuses(directory: Path, *texts: str) -> None:
    with pytest.raises(UserError) as caught:
        find_model(str(directory))
    message = str(caught.value)
    assert "\n" not in message
    for text in texts:
        assert text in message


def test_an_empty_directory_has_no_shards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no shard model-model_part-0.pt"):
        MegatronShardSource(tmp_path)


@pytest.mark.parametrize("index", [0, 4])
def test_a_missing_shard_is_named(copy: Path, index: int) -> None:
    part(copy, index).unlink()
    refuses(copy, f"model-model_part-{index}.pt is missing")


def test_a_missing_last_shard_is_noticed_by_the_tensors(copy: Path) -> None:
    part(copy, 7).unlink()
    refuses(copy, "model-model_part-0.pt", "7 parts")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_shard_is_named(copy: Path, share: float) -> None:
    data = part(copy, 3).read_bytes()
    part(copy, 3).write_bytes(data[: int(len(data) * share)])
    refuses(copy, "model-model_part-3.pt", "empty" if share == 0 else "truncated or damaged")


def test_a_shard_with_a_damaged_pickle_is_named(copy: Path) -> None:
    data = bytearray(part(copy, 2).read_bytes())
    at = data.index(b"decoder.version")
    data[at - 40 : at] = bytes(40)
    part(copy, 2).write_bytes(bytes(data))
    refuses(copy, "model-model_part-2.pt", "damaged")


def test_a_shard_of_a_model_of_other_sizes_is_named(copy: Path) -> None:
    change(part(copy, 6), layers__1__fc1__weight=torch.zeros(24, 48).half())
    refuses(copy, "model-model_part-6.pt", "layers.1.fc1.weight", "[24, 48]", "[12, 48]")


def test_a_shard_of_another_model_of_the_same_sizes_is_named(
    copy: Path,
    write_shards,  # noqa: ANN001
    tiny_weights,  # noqa: ANN001
) -> None:
    write_shards(copy, tiny_weights(1), only=5)
    refuses(copy, "model-model_part-5.pt", "another model")


def test_a_shard_without_one_of_the_tensors_is_named(copy: Path) -> None:
    change(part(copy, 1), layers__1__fc2__weight=None)
    refuses(copy, "model-model_part-1.pt", "has no tensor", "layers.1.fc2.weight")


def test_a_tensor_of_another_architecture_is_named(copy: Path) -> None:
    change(part(copy, 0), layernorm_embedding__weight=torch.ones(48))
    refuses(copy, "model-model_part-0.pt", "layernorm_embedding.weight")


def test_a_head_of_its_own_is_refused(copy: Path) -> None:
    change(part(copy, 2), output_projection__weight=torch.zeros(64, 48).half())
    refuses(copy, "model-model_part-2.pt", "head of its own")


def test_a_shard_in_another_dtype_is_named(copy: Path) -> None:
    change(part(copy, 4), layer_norm__weight=torch.ones(48))
    refuses(copy, "model-model_part-4.pt", "another dtype")


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_layers": 3},
        {"decoder_ffn_embed_dim": 192},
        {"activation_fn": "relu"},
        {"decoder_learned_pos": True},
        {"decoder_attention_heads": 7},
    ],
)
def test_settings_that_do_not_fit_the_tensors_are_named(
    copy: Path,
    tiny_megatron,  # noqa: ANN001
    write_shards,  # noqa: ANN001
    settings: dict[str, object],
) -> None:
    write_shards(copy, tiny_megatron.weights, **settings)
    refuses(copy, "model-model_part-0.pt", *settings)


class Executes:
    """Runs a command if it is unpickled by the plain method."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


def test_a_pickle_that_would_run_code_is_refused(copy: Path, tmp_path: Path) -> None:
    content = torch.load(part(copy, 1), weights_only=False)
    torch.save({**content, "extra_state": Executes(tmp_path / "ran")}, part(copy, 1))
    refuses(copy, "model-model_part-1.pt is refused", "argparse.Namespace are allowed")
    assert not (tmp_path / "ran").exists()


def test_no_class_stays_allowed_after_loading(tiny_megatron) -> None:  # noqa: ANN001
    MegatronShardSource(tiny_megatron.directory)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_a_file_that_is_no_fairseq_checkpoint_is_named(copy: Path) -> None:
    torch.save([1, 2, 3], part(copy, 0))
    refuses(copy, "model-model_part-0.pt", "not a fairseq checkpoint")


def test_the_format_before_pytorch_1_6_asks_for_conversion(
    copy: Path,
    tiny_megatron,  # noqa: ANN001
    write_shards,  # noqa: ANN001
) -> None:
    write_shards(copy, tiny_megatron.weights, old_format=True)
    refuses(copy, "before 1.6", "launchers/convert.py --from")


def test_a_missing_dictionary_is_named(copy: Path) -> None:
    (copy / "dict.txt").unlink()
    refuses(copy, "dict.txt is missing")


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_dictionary_of_another_length_than_the_vocabulary_is_named(
    copy: Path, extra: int
) -> None:
    lines = (copy / "dict.txt").read_text().splitlines()
    lines = lines[:-1] if extra < 0 else [*lines, "madeupword9999 0"]
    (copy / "dict.txt").write_text("\n".join(lines))
    refuses(copy, f"dict.txt has {508 + extra} lines, expected 508")


def test_a_directory_of_shards_is_a_model_with_an_identity(tiny_megatron, copy: Path) -> None:  # noqa: ANN001
    found = find_model(str(tiny_megatron.directory))
    assert found.is_megatron and not found.is_gguf
    files = weight_files(found.path)
    assert sorted(path.name for path in files) == [
        "dict.txt",
        *(f"model-model_part-{index}.pt" for index in range(8)),
    ]
    identity = fingerprint_files(files)
    assert fingerprint_files(weight_files(copy)) == identity
    (copy / "dict.txt").write_text((copy / "dict.txt").read_text().replace("9999", "9998"))
    assert fingerprint_files(weight_files(copy)) != identity


def test_the_11b_name_alone_says_which_files_it_takes() -> None:
    with pytest.raises(UserError, match="model-model_part-0.pt .* encoder.json"):
        find_model("megatron-11b")


ODD_SETTINGS = (
    True,
    -1,
    0,
    1.5,
    "8",
    "",
    [8],
    {},
    10**30,
    float("nan"),
    torch.zeros(2),
    torch.eye(2).to_sparse(),
)


@pytest.mark.parametrize("odd", ODD_SETTINGS, ids=range(len(ODD_SETTINGS)))
def test_settings_of_any_type_are_refused_in_one_line(tiny_megatron, copy, write_shards, odd):  # noqa: ANN001
    for name in ("decoder_layers", "decoder_attention_heads", "tokens_per_sample", "activation_fn"):
        write_shards(copy, tiny_megatron.weights, only=0, **{name: odd})
        with pytest.raises(UserError, match=f"part-0.pt: .*{name}") as refused:
            MegatronShardSource(copy)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        3,
        torch.zeros(()),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.complex64),
        torch.eye(2).to_sparse(),
    ],
)
def test_what_is_no_weight_is_refused(copy, odd) -> None:  # noqa: ANN001
    content = torch.load(part(copy, 0), weights_only=False)
    for key in ("decoder.embed_tokens.weight", "decoder.layers.0.fc1.bias"):
        kept = content["model"][key]
        content["model"][key] = odd
        torch.save(content, part(copy, 0))
        with pytest.raises(UserError, match="part-0.pt"):
            MegatronShardSource(copy)
        content["model"][key] = kept
