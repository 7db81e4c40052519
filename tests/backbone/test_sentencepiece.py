"""Model directories whose tokenizer is a SentencePiece model and nothing else."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.errors import UserError
from ptune_scale.task.example import NO_SLOT

_TEXT = "oslo rome paris norway italy france capital city north located near in is a the of"
# A unigram model makes pieces of what is in two different words at least.
WORDS = [word + end for word in _TEXT.split() for end in ("", "s")]
SENTENCES = [f"{a} is {b} in {c} ." for a, b, c in itertools.product(WORDS, repeat=3)][::29]
BRACKETS = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": 2,
    "eos_id": 3,
    "bos_piece": "[CLS]",
    "eos_piece": "[SEP]",
    "unk_piece": "[UNK]",
    "pad_piece": "[PAD]",
    "user_defined_symbols": ["[MASK]"],
}
MASKED = {
    "albert": ("spiece.model", {**BRACKETS, "unk_piece": "<unk>", "pad_piece": "<pad>"}),
    "xlm-roberta": ("sentencepiece.bpe.model", {}),
    "deberta-v2": ("spm.model", BRACKETS),
}
CAUSAL = {
    "llama": ("tokenizer.model", {"byte_fallback": True}),
    "mistral": ("tokenizer.model", {"byte_fallback": True}),
    "gemma": (
        "tokenizer.model",
        {
            **{"byte_fallback": True, "add_dummy_prefix": False},
            **{"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
        },
    ),
}
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 40,
    "embedding_size": 16,
    "vocab_size": 440,
}


@pytest.fixture(scope="module")
def directory_of(tmp_path_factory: pytest.TempPathFactory):
    """Write a tiny model of a family, with a tokenizer trained for it; each is written once."""
    written: dict[str, Path] = {}

    def write(family: str) -> Path:
        if family in written:
            return written[family]
        directory = written[family] = tmp_path_factory.mktemp(family)
        file, settings = {**MASKED, **CAUSAL}[family]
        SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES),
            model_prefix=str(directory / "made"),
            model_type="unigram" if family in MASKED else "bpe",
            vocab_size=90 if family in MASKED else 420,
            hard_vocab_limit=False,
            minloglevel=2,
            **settings,
        )
        (directory / "made.model").rename(directory / file)
        (directory / "made.vocab").unlink()
        config = AutoConfig.for_model(family, **SIZES)
        auto = AutoModelForMaskedLM if family in MASKED else AutoModelForCausalLM
        with torch.random.fork_rng(devices=[]):
            auto.from_config(config).save_pretrained(directory)
        return directory

    return write


def _pieces(backbone: Backbone, ids) -> list[str]:  # noqa: ANN001
    return backbone.tokens.tokenizer.convert_ids_to_tokens(list(ids))


@pytest.mark.parametrize("family", MASKED)
def test_a_masked_models_cloze_is_what_its_tokenizer_makes_of_the_sentence(
    family, directory_of, fill
):
    backbone = load_backbone(str(directory_of(family)))
    tokens = backbone.tokens
    cloze = fill("norway is in [Y] near [X] .", "oslo", tokens)
    sentence = f"norway is in {tokens.tokenizer.mask_token} near oslo ."
    assert list(cloze.ids) == tokens.tokenizer(sentence)["input_ids"]
    assert cloze.ids[cloze.targets[0]] == tokens.mask_token
    assert (len(tokens.special_ends[0]), len(tokens.special_ends[1])) == (1, 1)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_causal_models_cloze_is_spelled_as_sentencepiece_does_behind_a_first_token(
    family, directory_of, fill
):
    directory = directory_of(family)
    backbone = load_backbone(str(directory))
    tokens = backbone.tokens
    cloze = fill("[X] is located in [Y]", "norway", tokens)
    model = SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    text = model.encode("norway is located in", out_type=str)
    assert _pieces(backbone, cloze.ids) == [tokens.tokenizer.bos_token, *text]
    assert cloze.targets[0] == len(cloze.ids) - 1
    # The answer's token begins with the space that the cloze leaves to it.
    whole = model.encode("norway is located in rome", out_type=str)
    assert [*text, *_pieces(backbone, [tokens.word_token("rome")])] == whole


@pytest.mark.parametrize("family", [*MASKED, *CAUSAL])
def test_a_word_is_one_token_with_its_space_wherever_it_stands(family, directory_of, fill):
    backbone = load_backbone(str(directory_of(family)))
    tokens = backbone.tokens
    rome = tokens.word_token("rome")
    assert _pieces(backbone, [rome]) == ["▁rome"]
    assert tokens.text(rome) == "rome"
    assert tokens.after(" rome") == [rome]
    assert tokens.word_token("romenorway") is None
    cloze = fill("[P]*2 [X] [P] [Y]", "rome", tokens)
    begin, end = map(len, tokens.special_ends)
    assert cloze.slots[begin : begin + 4] == (0, 1, NO_SLOT, 2)
    assert cloze.ids[begin + 2] == rome
    assert len(cloze.ids) == begin + 4 + (1 if family in MASKED else 0) + end


def test_a_first_token_that_the_files_switch_off_stays_off(directory_of, tmp_path):
    shutil.copytree(directory_of("llama"), tmp_path, dirs_exist_ok=True)
    said = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    assert load_backbone(str(tmp_path)).tokens.special_ends == ([], [])


def test_a_file_that_is_no_sentencepiece_model_is_refused(directory_of, tmp_path):
    shutil.copytree(directory_of("albert"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(UserError, match="cannot load it"):
        load_backbone(str(tmp_path))
