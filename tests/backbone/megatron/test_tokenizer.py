"""Token ids are the dictionary's line numbers behind four special tokens."""

import json
import shutil
from pathlib import Path
from random import Random

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from ptune_scale.backbone.megatron import build_tokenizer
from ptune_scale.backbone.source import find_model
from ptune_scale.errors import UserError
from ptune_scale.task.tokenization import Tokenization
from tests.campaigns.damage import JSON_VALUES, UNREADABLE


@pytest.fixture(scope="module")
def tokenizer(tiny_megatron) -> PreTrainedTokenizerFast:  # noqa: ANN001
    return build_tokenizer(tiny_megatron.directory)


@pytest.fixture
def copy(tiny_megatron, tmp_path: Path) -> Path:  # noqa: ANN001
    return Path(shutil.copytree(tiny_megatron.directory, tmp_path / "copy"))


def test_a_word_has_the_number_of_its_line_plus_four(
    tiny_megatron,  # noqa: ANN001
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoder = json.loads((tiny_megatron.directory / "encoder.json").read_text())
    for word in ("Norway", "Oslo", "the"):
        expected = tiny_megatron.gpt2_ids.index(encoder[f"Ġ{word}"]) + 4
        assert tokenizer(f" {word}")["input_ids"] == [expected]
        assert tokenizer.decode([expected]) == f" {word}"


def test_special_tokens_are_fairseqs_first_four(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id) == (0, 1)
    assert (tokenizer.eos_token_id, tokenizer.unk_token_id) == (2, 3)


def test_it_has_an_entry_for_every_row_of_the_embeddings(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert len(tokenizer) == 512
    assert tokenizer.convert_ids_to_tokens(511).startswith("madeupword")


@pytest.mark.parametrize(
    "text", ["Norway's capital, Oslo!", "naïve 東京 🙂\n\ttab", "  two spaces"]
)
def test_any_text_survives_encoding_and_decoding(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert min(ids) >= 4


def test_text_is_cut_as_by_gpt2(
    tiny_megatron,  # noqa: ANN001
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    files = (tiny_megatron.directory / name for name in ("encoder.json", "vocab.bpe"))
    gpt2 = ByteLevelBPETokenizer.from_file(*map(str, files))
    for text in ("the capitals of Swedenia, isn't it?", "Parisian  Asia\n1991 naïve"):
        expected = [tiny_megatron.gpt2_ids.index(index) + 4 for index in gpt2.encode(text).ids]
        assert tokenizer(text)["input_ids"] == expected


def test_templates_see_a_causal_tokenizer_that_adds_nothing(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokens = Tokenization(tokenizer, "causal")
    assert tokens.special_ends == ([], [])
    assert tokens.placeholder == 1
    assert tokens.word_token("Norway") == tokenizer(" Norway")["input_ids"][0]
    assert tokens.word_token("Norwayland") is None
    assert tokens.start("</s>") == [2]


@pytest.mark.parametrize(
    ("file", "names"),
    [("encoder.json", "encoder.json or vocab.json"), ("vocab.bpe", "vocab.bpe or merges.txt")],
)
def test_a_missing_encoding_file_is_named_with_its_place(copy: Path, file: str, names: str) -> None:
    (copy / file).unlink()
    with pytest.raises(UserError, match=f"put GPT-2's {names} there"):
        find_model(str(copy))


def test_hugging_faces_names_of_the_files_are_taken_too(
    copy: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    (copy / "encoder.json").rename(copy / "vocab.json")
    (copy / "vocab.bpe").rename(copy / "merges.txt")
    text = "the capital of Norway"
    assert build_tokenizer(copy)(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize(
    ("line", "message"),
    [("99999 5", "line 1: '99999' is not in encoder.json"), ("12", "line 1: expected")],
)
def test_a_dictionary_over_another_encoding_is_refused(copy: Path, line: str, message: str) -> None:
    lines = (copy / "dict.txt").read_text().splitlines()
    (copy / "dict.txt").write_text("\n".join([line, *lines[1:]]))
    with pytest.raises(UserError, match=message):
        build_tokenizer(copy)


def test_merges_of_another_encoding_are_refused(copy: Path) -> None:
    (copy / "vocab.bpe").write_text("#version: 0.2\nĠz qq\n")
    with pytest.raises(UserError, match="vocab.bpe does not fit"):
        build_tokenizer(copy)


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_vocabulary_is_taken_or_refused_in_one_line(value: str, copy: Path) -> None:
    for text in (value, f'{{"the": {value}}}'):
        (copy / "encoder.json").write_text(text)
        with pytest.raises(UserError) as refused:
            build_tokenizer(copy)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["dict.txt", "encoder.json", "vocab.bpe"])
@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_nobody_can_read_is_named(name: str, damage, copy: Path) -> None:
    damage(copy / name, Random(0))
    with pytest.raises(UserError, match=name):
        build_tokenizer(copy)
