"""Tokenizers of three families, with the words that the SuperGLUE tests use."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ptune_scale.tokenization import Tokenization

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
