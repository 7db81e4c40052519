"""Tokenizers of three families and tiny models, with the words that the SuperGLUE tests use."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ptune_scale.parallel import Degrees, Mesh, StopSignal, World
from ptune_scale.run.site import Site
from ptune_scale.superglue.check import check
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.run import task_jobs
from ptune_scale.task.example import NO_SLOT, Example
from ptune_scale.task.tokenization import Tokenization

_TEXT = (
    "Question question Answer answer Yes No Maybe true false True False neither Is it is or so "
    "because pronoun refers to does the The cat dog sat ran slept tired was home barks sea Tom "
    "Smith he and ? . , ' * : \" ! ( )"
)
WORDS = _TEXT.split()
_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session")
def word_piece() -> Tokenization:
    """As BERT's: a word is a token, punctuation is apart, spaces do not matter."""
    vocab = {word: index for index, word in enumerate(dict.fromkeys([*_SPECIALS, *WORDS]))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = _ends("[CLS]", "[SEP]", vocab)
    return Tokenization(_fast(tokenizer, *_SPECIALS), "masked")


@pytest.fixture(scope="session")
def sentence_piece() -> Tokenization:
    """As ALBERT's: a text on its own begins with a space, even if it is a question mark."""
    pieces = [*_SPECIALS, "▁", *(f"▁{word}" for word in WORDS), *WORDS]
    scores = [(piece, 0.0 if piece in _SPECIALS else -1.0) for piece in dict.fromkeys(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = _ends("[CLS]", "[SEP]", {"[CLS]": 2, "[SEP]": 3})
    return Tokenization(_fast(tokenizer, *_SPECIALS), "masked")


@pytest.fixture(scope="session")
def roberta_like() -> Tokenization:
    """Byte pairs: a space is the beginning of the next token."""
    tokenizer = _byte_pairs(["<pad>", "<unk>", "<s>", "</s>", "<mask>"])
    vocab = tokenizer.get_vocab()
    tokenizer.post_processor = _ends("<s>", "</s>", vocab)
    return Tokenization(_fast(tokenizer, "<pad>", "<unk>", "<s>", "</s>", "<mask>"), "masked")


@pytest.fixture(scope="session")
def causal() -> Tokenization:
    """As GPT-2's: byte pairs and no special token around a text."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=_byte_pairs(["<|endoftext|>"]), eos_token="<|endoftext|>"
    )
    return Tokenization(fast, "causal")


def _byte_pairs(specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = [word for word in WORDS if word.isalpha()]
    tokenizer.train_from_iterator([f"x {' '.join(words)} ? . x ? ."] * 8, trainer)
    return tokenizer


def _ends(first: str, last: str, vocab: dict[str, int]) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, vocab[first]), (last, vocab[last])]
    )


def _fast(
    tokenizer: Tokenizer, pad: str, unk: str, cls: str, sep: str, mask: str
) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unk,
        cls_token=cls,
        sep_token=sep,
        mask_token=mask,
    )


@pytest.fixture(scope="session")
def tiny_causal(causal: Tokenization, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a GPT-2 with random weights and the tokenizer ``causal``: H=32, two layers."""
    end = causal.tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(causal.tokenizer),
        n_positions=256,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )
    return _saved(GPT2LMHeadModel(config), causal, tmp_path_factory.mktemp("tiny_causal"))


@pytest.fixture(scope="session")
def tiny_masked(word_piece: Tokenization, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a BERT with random weights and the tokenizer ``word_piece``: the same size."""
    config = BertConfig(
        vocab_size=len(word_piece.tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
        pad_token_id=0,
    )
    return _saved(BertForMaskedLM(config), word_piece, tmp_path_factory.mktemp("tiny_masked"))


def _saved(model: PreTrainedModel, tokens: Tokenization, directory: Path) -> Path:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # As usually initialized, all logits would be nearly equal, and so would all answers.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=generator)
    model.save_pretrained(directory)
    tokens.tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of BoolQ, CB, COPA and WSC: 8 records each in train, dev32 and val."""
    directory = tmp_path_factory.mktemp("tiny_tasks")
    for split in ("train", "dev32", "val"):
        chance = random.Random(split)
        for task, make in _MAKE.items():
            _write(directory, task, split, [make(chance, idx) for idx in range(8)])
    return directory


def _write(directory: Path, task: str, split: str, records: Iterable[Any]) -> Path:
    path = directory / task / f"{split}.jsonl"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def _sentence(chance: random.Random) -> str:
    return f"The {chance.choice(['cat', 'dog'])} {chance.choice(['sat', 'ran', 'slept'])}."


def _boolq(chance: random.Random, idx: int) -> dict[str, Any]:
    passage = " ".join(_sentence(chance) for _ in range(1 + idx % 3))
    asked = f"is the {chance.choice(['cat', 'dog'])} tired"
    return {"idx": idx, "passage": passage, "question": asked, "label": idx % 2 == 0}


def _cb(chance: random.Random, idx: int) -> dict[str, Any]:
    premise = " ".join(_sentence(chance) for _ in range(1 + idx % 3))
    label = ("entailment", "contradiction", "neutral")[idx % 3]
    return {"idx": idx, "premise": premise, "hypothesis": _sentence(chance), "label": label}


def _copa(chance: random.Random, idx: int) -> dict[str, Any]:
    # Never the same choice twice: rounding would decide between them.
    sentences = [f"The {who} {did}" for who in ("cat", "dog") for did in ("sat", "ran", "slept")]
    first, second = chance.sample(sentences, k=2)
    return {
        "idx": idx,
        "premise": _sentence(chance),
        "choice1": f"{first}{' so it was tired' * (idx % 3 == 0)}.",
        "choice2": f"{second}{' so it was tired' * (idx % 3 == 1)}.",
        "question": ("cause", "effect")[idx % 2],
        "label": idx // 2 % 2,
    }


def _wsc(chance: random.Random, idx: int) -> dict[str, Any]:
    span = ("Tom Smith", "the dog", "Tom")[idx % 3]
    text = f"{span} {chance.choice(['ran', 'sat'])} and he was so tired"
    place = text.split().index("he")
    target = {"span1_text": span, "span1_index": 0, "span2_text": "he", "span2_index": place}
    return {"idx": idx, "text": text, "target": target, "label": idx % 2 == 0}


_MAKE = {"BoolQ": _boolq, "CB": _cb, "COPA": _copa, "WSC": _wsc}


@pytest.fixture
def job_of(tiny_tasks: Path, tmp_path: Path) -> Callable[..., TaskJob]:
    """Build the job of a task, the first if there are several, in this process.

    It is given a model directory, names of tasks, and flags.
    """

    def build(model: Path, task: str, **more: Any) -> TaskJob:
        flags = {
            "model": str(model),
            "data_dir": str(tiny_tasks),
            "tasks": task,
            "dtype": "float32",
            "max_steps": 4,
            "eval_every": 2,
            "batch_size": 4,
            **more,
        }
        world = World()
        output = Path(flags.get("output_dir", tmp_path / "out"))
        site = Site(Mesh.build(world, Degrees()), StopSignal(world), output)
        return next(task_jobs(check(SuperglueConfig.from_flags(flags)), site))

    return build


@pytest.fixture
def written() -> Callable[[Example, Tokenization], str]:
    """A row as its tokens are called; "P0" is prompt slot 0."""

    def write(row: Example, tokens: Tokenization) -> str:
        names = tokens.tokenizer.convert_ids_to_tokens(list(row.ids))
        pairs = zip(names, row.slots, strict=True)
        return " ".join(name if slot == NO_SLOT else f"P{slot}" for name, slot in pairs)

    return write
