"""Tiny models with random weights: real architectures and tokenizers that load in milliseconds."""

import contextlib
import gc
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from tests.serving import served
from tests.tiny import byte_pairs, save, save_llama

_TEXT = (
    "the of is was in born capital located near city a Norway Oslo Sweden Stockholm France Paris "
    "Germany Berlin Italy Rome Spain Madrid Dante Florence Europe Asia Africa"
)
WORDS = _TEXT.split()
"""Each of these is a single token inside a sentence, for both tiny tokenizers."""

CAPITALS = {"Norway": "Oslo", "Sweden": "Stockholm", "France": "Paris", "Germany": "Berlin"}
CONTINENTS = {"Norway": "Europe", "Sweden": "Europe", "France": "Europe", "Italy": "Europe"}

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def pytest_configure() -> None:
    """One thread: tiny models gain nothing by more, and test processes get in each other's way."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage the half million objects of the libraries."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let them be collected: some libraries count what is left at the end."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def gpt2_that_knows(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a causal model of random weights that knows the words of a text: H=32, two layers."""

    def make(text: str, *, vocab_size: int = 600, positions: int = 64) -> Path:
        fast = byte_pairs(text, vocab_size)
        config = GPT2Config(
            vocab_size=len(fast),
            n_positions=positions,
            n_embd=32,
            n_layer=2,
            n_head=2,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
        )
        return save(GPT2LMHeadModel, config, fast, tmp_path_factory.mktemp("gpt2"))

    return make


@pytest.fixture(scope="session")
def tiny_gpt2(gpt2_that_knows: Callable[..., Path]) -> Path:
    """Directory of a causal model: H=32, two layers, byte-level BPE."""
    return gpt2_that_knows(" ".join(WORDS))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of another causal model, with the tokenizer of ``tiny_gpt2``."""
    fast = byte_pairs(" ".join(WORDS))
    return save_llama(fast, tmp_path_factory.mktemp("tiny_llama"))


@pytest.fixture(scope="session")
def serving() -> Iterator[Callable[[Path], str]]:
    """The address of a server of a model, in fp32, which stays until the end."""
    with contextlib.ExitStack() as stack:
        known: dict[Path, str] = {}

        def address(model: Path) -> str:
            if model not in known:
                known[model] = stack.enter_context(served(model))
            return known[model]

        yield address


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a masked model: H=32, two layers, WordPiece."""
    letters = [chr(c) for c in (*range(97, 123), *range(65, 91))]
    pieces = [*SPECIALS, *WORDS, ".", ",", *letters, *(f"##{letter}" for letter in letters)]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=vocab["[PAD]"],
    )
    return save(BertForMaskedLM, config, fast, tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def tiny_facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of two relations; what is trained on is tested on under another subject."""
    directory = tmp_path_factory.mktemp("tiny_facts")
    relations = [
        {"relation": "P36", "label": "capital", "template": "the capital of [X] is [Y] ."},
        {"relation": "P30", "label": "continent", "template": "[X] is located in [Y] ."},
    ]
    (directory / "relations.jsonl").write_text("\n".join(map(json.dumps, relations)))
    for relation, facts in (("P36", CAPITALS), ("P30", CONTINENTS)):
        for part, prefix in (("train", ""), ("test", "the ")):
            (directory / part).mkdir(exist_ok=True)
            (directory / part / f"{relation}.jsonl").write_text(
                "\n".join(
                    json.dumps({"sub_label": prefix + subject, "obj_label": object_})
                    for subject, object_ in facts.items()
                )
            )
    return directory
