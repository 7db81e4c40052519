"""fairseq's dictionary over GPT-2's byte-pair encoding, as a Hugging Face tokenizer.

A line of ``dict.txt`` is "<id in GPT-2's encoding> <count>", the most frequent first, or a
"madeupword" that only fills the vocabulary up. A token's id is 4 (for <s>, <pad>, </s>, <unk>) plus
the number of its line.

No token is put before a text. fairseq's language models were trained on streams in which </s>
separates documents, and their evaluation begins with it; the published P-tuning code, however,
gives them templates without any, and there the first prompt vector can learn that part. A template
that wants it says so: "</s>" in its text becomes the special token.
"""

import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ptune_scale.errors import UserError
from ptune_scale.reading import has_file, one_line, read_object, read_text, shown

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
NUM_SPECIALS = len(SPECIALS)
ENCODER_FILES = ("encoder.json", "vocab.json")
MERGES_FILES = ("vocab.bpe", "merges.txt")

_FILLER = re.compile(r"madeupword\d+")


def read_dictionary(path: Path) -> list[str]:
    """The symbols of ``dict.txt`` in the order of their lines.

    Raises:
        UserError: not there, or a line is not "symbol count".
    """
    if not has_file(path):
        raise UserError(f"{path} is missing: without it token ids have no meaning")
    symbols = []
    lines = read_text(path, "dictionary").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal():
            raise UserError(f"{path}, line {number}: expected '<symbol> <count>'")
        symbols.append(fields[0])
    return symbols


def bpe_files(directory: Path) -> tuple[Path, Path]:
    """GPT-2's encoder and merges in a directory, under fairseq's or Hugging Face's names.

    Raises:
        UserError: one of them is missing; fairseq's archive does not contain them.
    """
    found = []
    for names, what in ((ENCODER_FILES, "vocabulary"), (MERGES_FILES, "merges")):
        paths = [directory / name for name in names if has_file(directory / name)]
        if not paths:
            raise UserError(
                f"{directory} lacks the {what} of GPT-2's byte-pair encoding; put GPT-2's "
                f"{' or '.join(names)} there, next to dict.txt"
            )
        found.append(paths[0])
    return found[0], found[1]


def build_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """A fast tokenizer with as many entries as the model's vocabulary.

    Raises:
        UserError: a file is missing or damaged, or the dictionary is not over this encoding.
    """
    dictionary = directory / "dict.txt"
    symbols = read_dictionary(dictionary)
    encoder_file, merges_file = bpe_files(directory)
    encoder = read_object(encoder_file, "vocabulary")
    if not all(type(index) is int for index in encoder.values()):
        raise UserError(f"{encoder_file} is not GPT-2's vocabulary: write a number for each piece")
    pieces = {str(index): piece for piece, index in encoder.items()}
    vocab = {special: index for index, special in enumerate(SPECIALS)}
    for number, symbol in enumerate(symbols):
        piece = symbol if _FILLER.fullmatch(symbol) else pieces.get(symbol)
        if piece is None or piece in vocab:
            raise UserError(
                f"{dictionary}, line {number + 1}: {shown(symbol)} is "
                + (f"not in {encoder_file.name}" if piece is None else "there twice")
            )
        vocab[piece] = NUM_SPECIALS + number
    try:
        bpe = models.BPE(vocab, _read_merges(merges_file))
    except Exception as error:  # tokenizers raises nothing more specific
        raise UserError(f"{merges_file} does not fit {dictionary}: {one_line(error)}") from error
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(special, normalized=False) for special in SPECIALS])
    bos, pad, eos, unk = SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, pad_token=pad, eos_token=eos, unk_token=unk
    )


def _read_merges(path: Path) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(read_text(path, "merges").split("\n"), start=1):
        if (number == 1 and line.startswith("#version")) or not line.strip():
            continue
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise UserError(f"{path}, line {number}: expected two symbols")
        merges.append((left, right))
    return merges
