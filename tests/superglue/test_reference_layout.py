"""The reference layout: its tokens, written out for every task and each of its patterns."""

import pytest

from ptune_scale.errors import UserError
from ptune_scale.superglue import RowEncoder, find_task
from ptune_scale.superglue.row import Row
from ptune_scale.superglue.task import Record
from ptune_scale.superglue.tasks.boolq import Question
from ptune_scale.superglue.tasks.cb import Pair as CbPair
from ptune_scale.superglue.tasks.copa import Choice
from ptune_scale.superglue.tasks.multirc import Candidate
from ptune_scale.superglue.tasks.rte import Pair
from ptune_scale.superglue.tasks.wic import WordPair
from ptune_scale.superglue.tasks.wsc import Reference
from ptune_scale.template import NO_SLOT
from ptune_scale.tokenization import Tokenization

BOOLQ = Question(idx=(0,), label=1, passage="The cat sat", question="is it tired")
CB = CbPair(idx=(0,), label=2, premise="The dog barks.", hypothesis="it is home.")
RTE = Pair(idx=(0,), label=0, premise="The dog barks.", hypothesis="it is home!?")
MULTIRC = Candidate(
    idx=(0, 1, 2), label=0, passage="The cat sat", question="was it home", answer="the sea"
)
WIC = WordPair(idx=(0,), label=1, word="dog", sentence1="The dog ran", sentence2="it was the dog")
COPA = Choice(
    idx=(0,),
    label=1,
    premise="The cat slept.",
    choice1="It ran home.",
    choice2="He was tired.",
    question="cause",
)
WSC = Reference(
    idx=(0,), label=1, text="Tom Smith ran and he slept", span="Tom Smith", pronoun="he", position=4
)

# "P0" is prompt slot 0; the other words are tokens.
WORD_PIECE = {
    ("BoolQ", 1): "[CLS] The cat sat . P0 Question : is it tired ? Answer : [MASK] . [SEP]",
    ("CB", 1): "[CLS] The dog barks . [SEP] it is home . ? P0 answer : [MASK] [SEP]",
    ("RTE", 1): "[CLS] The dog barks . Question : it is home ? P0 Answer : [MASK] . [SEP]",
    ("MultiRC", 1): (
        "[CLS] The cat sat . Question : was it home ? Is it the sea ? P0 [MASK] . [SEP]"
    ),
    ("WiC", 1): "[CLS] The dog ran [SEP] it was the dog P0 * dog * ? [MASK] [SEP]",
    ("WiC", 2): "[CLS] The dog ran [SEP] it was the dog P0 * dog * ? P1 [MASK] [SEP]",
    ("WiC", 3): "[CLS] P0 The dog ran [SEP] it was the dog P1 * dog * ? P2 [MASK] [SEP]",
    ("WiC", 4): "[CLS] P0 The dog ran [SEP] it was the dog P1 * dog * ? P2 [MASK] P3 [SEP]",
    ("COPA", 1): (
        "[CLS] it ran home or he was tired ? The cat slept because P0 [MASK] [MASK] [MASK] . [SEP]"
    ),
    ("WSC", 1): (
        "[CLS] Tom Smith ran and * he * slept P0 pronoun ' * he * ' refers to "
        "[MASK] [MASK] [MASK] . [SEP]"
    ),
    ("WSC", 2): (
        "[CLS] P0 Tom Smith ran and * he * slept P1 pronoun ' * he * ' refers to "
        "[MASK] [MASK] [MASK] . [SEP]"
    ),
}
RECORDS: dict[str, Record] = {
    "BoolQ": BOOLQ,
    "CB": CB,
    "RTE": RTE,
    "MultiRC": MULTIRC,
    "WiC": WIC,
    "COPA": COPA,
    "WSC": WSC,
}


def _encoder(task: str, slots: int, tokens: Tokenization, max_length: int = 64) -> RowEncoder:
    known = find_task(task)
    pattern = known.pattern(layout="reference", num_slots=slots)
    return RowEncoder(known, pattern, tokens, max_length)


def _tokens(row: Row, tokens: Tokenization) -> str:
    names = tokens.tokenizer.convert_ids_to_tokens(list(row.ids))
    return " ".join(
        name if slot == NO_SLOT else f"P{slot}" for name, slot in zip(names, row.slots, strict=True)
    )


@pytest.mark.parametrize(("task", "slots"), WORD_PIECE, ids=str)
def test_token_ids_in_a_word_piece_vocabulary(
    task: str, slots: int, word_piece: Tokenization
) -> None:
    encoder = _encoder(task, slots, word_piece)
    row = encoder.encode([RECORDS[task]], "evaluate").rows[0]
    expected = WORD_PIECE[task, slots].split()
    ids = word_piece.tokenizer.convert_tokens_to_ids(
        ["[PAD]" if word[0] == "P" and word[1:].isdecimal() else word for word in expected]
    )
    assert word_piece.tokenizer.unk_token_id not in ids
    assert list(row.ids) == ids
    assert _tokens(row, word_piece) == " ".join(expected)
    masks = tuple(i for i, word in enumerate(expected) if word == "[MASK]")
    assert row.targets == masks
    assert encoder.pattern.num_slots == slots


def test_pieces_on_their_own_begin_with_a_space_in_a_sentence_piece_vocabulary(
    sentence_piece: Tokenization,
) -> None:
    boolq = _encoder("BoolQ", 1, sentence_piece).encode([BOOLQ], "train").rows[0]
    assert _tokens(boolq, sentence_piece) == (
        "[CLS] ▁The ▁cat ▁sat ▁. P0 ▁Question : ▁is ▁it ▁tired ▁? ▁Answer : [MASK] ▁. [SEP]"
    )
    wsc = _encoder("WSC", 1, sentence_piece).encode([WSC], "evaluate").rows[0]
    assert _tokens(wsc, sentence_piece).endswith("▁to [MASK] [MASK] [MASK] ▁. [SEP]")


def test_pieces_get_a_space_in_a_byte_pair_vocabulary_but_not_what_is_glued_to_masks(
    roberta_like: Tokenization,
) -> None:
    rte = _encoder("RTE", 1, roberta_like).encode([RTE], "train").rows[0]
    assert _tokens(rte, roberta_like) == (
        "<s> ĠThe Ġdog Ġbarks . ĠQuestion : Ġit Ġis Ġhome Ġ? P0 ĠAnswer : <mask> Ġ. </s>"
    )
    wsc = _encoder("WSC", 1, roberta_like).encode([WSC], "evaluate").rows[0]
    assert _tokens(wsc, roberta_like).endswith("Ġto <mask> <mask> <mask> . </s>")


def test_truncation_cuts_the_last_text_first_and_subtracts_the_special_tokens_twice(
    word_piece: Tokenization,
) -> None:
    full = _encoder("BoolQ", 1, word_piece, 64).encode([BOOLQ], "train")
    assert (full.cut_tokens, full.cut_records) == (0, 0)
    length = len(full.rows[0].ids)
    rows = _encoder("BoolQ", 1, word_piece, length - 2).encode([BOOLQ], "train")
    # Two tokens over, and two more for the special tokens: the question's three, one of the text.
    assert _tokens(rows.rows[0], word_piece) == (
        "[CLS] The cat . P0 Question : ? Answer : [MASK] . [SEP]"
    )
    assert (rows.cut_tokens, rows.cut_records) == (4, 1)


def test_masks_of_choices_are_as_many_as_the_longest_to_train_and_each_its_own_to_evaluate(
    word_piece: Tokenization,
) -> None:
    record = Choice(
        idx=(0,),
        label=0,
        premise="The cat slept.",
        choice1="It was so tired.",
        choice2="He ran.",
        question="effect",
    )
    encoder = _encoder("COPA", 1, word_piece)
    train, evaluate = (encoder.encode([record], p) for p in ("train", "evaluate"))
    first, second = train.rows
    assert first.ids == second.ids
    assert _tokens(first, word_piece).endswith("so P0 [MASK] [MASK] [MASK] [MASK] . [SEP]")
    assert first.answered == (True,) * 4
    assert second.answered == (True, True, False, False)
    ids = word_piece.tokenizer.convert_tokens_to_ids(["it", "was", "so", "tired"])
    assert list(first.answers) == ids
    assert [len(row.targets) for row in evaluate.rows] == [4, 2]
    assert _tokens(evaluate.rows[1], word_piece).endswith("P0 [MASK] [MASK] . [SEP]")


def test_spare_masks_of_a_span_are_0_to_3_to_train_and_1_to_evaluate_and_mean_padding(
    word_piece: Tokenization,
) -> None:
    encoder = _encoder("WSC", 2, word_piece)
    train = encoder.encode([WSC] * 40, "train").rows
    assert {len(row.targets) - 2 for row in train} == {0, 1, 2, 3}
    assert train == encoder.encode([WSC] * 40, "train").rows
    row = encoder.encode([WSC], "evaluate").rows[0]
    assert word_piece.tokenizer.convert_ids_to_tokens(list(row.answers)) == [
        "Tom",
        "Smith",
        "[PAD]",
    ]
    assert row.decode == 3


def test_a_causal_model_or_an_unknown_number_of_slots_is_refused(causal: Tokenization) -> None:
    with pytest.raises(UserError, match="masked models only"):
        _encoder("RTE", 1, causal)
    with pytest.raises(UserError, match="no pattern with 5 prompt slots; it has 1, 2, 3, 4"):
        find_task("WiC").pattern(layout="reference", num_slots=5)
    with pytest.raises(UserError, match="'ptuning' only"):
        find_task("WiC").pattern("manual_0", layout="reference")
