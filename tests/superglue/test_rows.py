"""Our own layout: spaces, slots, targets and answers, for masked and causal models."""

import pytest

from ptune_scale.errors import UserError
from ptune_scale.superglue import TASKS, RowEncoder, find_task
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.row import Row
from ptune_scale.superglue.tasks.boolq import YES_NO, Question
from ptune_scale.superglue.tasks.copa import Choice
from ptune_scale.superglue.tasks.wic import WordPair
from ptune_scale.superglue.tasks.wsc import Reference, refers
from ptune_scale.template import NO_SLOT
from ptune_scale.tokenization import Tokenization

BOOLQ = Question(idx=(0,), label=1, passage="The cat sat", question="is it tired")
COPA = Choice(
    idx=(0,),
    label=1,
    premise="The cat slept.",
    choice1="It ran home.",
    choice2="He was so tired.",
    question="cause",
)
WSC = Reference(
    idx=(0,), label=1, text="Tom Smith ran and he slept", span="Tom Smith", pronoun="he", position=4
)
WIC = WordPair(idx=(0,), label=0, word="dog", sentence1="The dog ran", sentence2="it was the dog")


def _text(row: Row, tokens: Tokenization) -> str:
    names = tokens.tokenizer.convert_ids_to_tokens(list(row.ids))
    return " ".join(
        name if slot == NO_SLOT else f"P{slot}" for name, slot in zip(names, row.slots, strict=True)
    )


def _names(ids: tuple[int, ...], tokens: Tokenization) -> list[str]:
    return tokens.tokenizer.convert_ids_to_tokens(list(ids))


def _encoder(task: str, tokens: Tokenization, pattern: Pattern | None = None) -> RowEncoder:
    return RowEncoder(find_task(task), pattern or find_task(task).pattern(), tokens, 64)


def test_words_are_spelled_as_in_a_sentence_in_all_vocabularies(
    word_piece: Tokenization, sentence_piece: Tokenization, causal: Tokenization
) -> None:
    rows = {
        tokens: _encoder("BoolQ", tokens).encode([BOOLQ], "train").rows[0]
        for tokens in (word_piece, sentence_piece, causal)
    }
    assert _text(rows[word_piece], word_piece) == (
        "[CLS] The cat sat . P0 Question : is it tired ? Answer : [MASK] . [SEP]"
    )
    assert _text(rows[sentence_piece], sentence_piece) == (
        "[CLS] ▁The ▁cat ▁sat . P0 ▁Question : ▁is ▁it ▁tired ? ▁Answer : [MASK] . [SEP]"
    )
    assert _text(rows[causal], causal) == (
        "T he Ġcat Ġsat . P0 ĠQuestion : Ġis Ġit Ġtired ? ĠAnswer :"
    )


def test_a_row_of_words_reads_one_target_and_expects_the_word_of_its_label(
    word_piece: Tokenization, causal: Tokenization
) -> None:
    for tokens, no, yes in ((word_piece, "No", "Yes"), (causal, "ĠNo", "ĠYes")):
        encoder = _encoder("BoolQ", tokens)
        assert _names(encoder.word_tokens, tokens) == [no, yes]
        row = encoder.encode([BOOLQ], "evaluate").rows[0]
        assert (len(row.targets), row.label, row.answered) == (1, 1, (True,))
        assert _names(row.answers, tokens) == [yes]
    assert row.targets == (len(row.ids) - 1,)


def test_a_word_glued_to_punctuation_is_spelled_without_a_space(causal: Tokenization) -> None:
    pattern = Pattern.parse("{passage} {question} ([Y]", YES_NO)
    assert _names(_encoder("BoolQ", causal, pattern).word_tokens, causal) == ["No", "Yes"]


def test_a_row_without_label_expects_nothing(word_piece: Tokenization) -> None:
    unknown = Question(idx=(0,), label=None, passage="The cat sat", question="is it tired")
    row = _encoder("BoolQ", word_piece).encode([unknown], "evaluate").rows[0]
    assert (row.label, row.answered) == (None, (False,))


def test_a_causal_model_reads_each_choice_behind_the_text(causal: Tokenization) -> None:
    first, second = _encoder("COPA", causal).encode([COPA], "train").rows
    assert _text(first, causal).endswith("Ġslept Ġbecause P0 Ġit Ġran")
    assert _names(first.answers, causal) == ["Ġit", "Ġran", "Ġhome"]
    length = len(first.ids)
    assert first.targets == (length - 3, length - 2, length - 1)
    assert first.slots[first.targets[0]] == 0
    assert _names(second.answers, causal) == ["Ġhe", "Ġwas", "Ġso", "Ġtired"]
    assert (first.record, second.record, first.label, second.label) == (0, 0, 1, 1)
    for row in (first, second):
        assert row.ids[row.targets[0] + 1 :] == row.answers[:-1]


def test_a_causal_model_is_not_shown_the_span_that_it_has_to_find(causal: Tokenization) -> None:
    encoder = _encoder("WSC", causal)
    train, evaluate = (encoder.encode([WSC], p).rows[0] for p in ("train", "evaluate"))
    assert _names(train.answers, causal) == ["ĠTom", "ĠSmith"]
    assert _text(evaluate, causal).endswith("Ġrefers Ġto")
    assert evaluate.targets == (len(evaluate.ids) - 1,)
    assert (train.decode, evaluate.decode) == (0, 2)


def test_the_separator_is_the_tokenizers_or_a_line_break(
    word_piece: Tokenization, causal: Tokenization
) -> None:
    masked = _encoder("WiC", word_piece).encode([WIC], "train").rows[0]
    assert _text(masked, word_piece) == (
        "[CLS] The dog ran [SEP] it was the dog P0 * dog * ? [MASK] [SEP]"
    )
    row = _encoder("WiC", causal).encode([WIC], "train").rows[0]
    assert _text(row, causal).startswith("T he Ġdog Ġran Ċ it Ġwas Ġthe Ġdog P0")


def test_slots_can_be_made_more_and_are_numbered_through(word_piece: Tokenization) -> None:
    pattern = find_task("WSC").pattern(num_slots=2)
    assert pattern.num_slots == 4
    row = _encoder("WSC", word_piece, pattern).encode([WSC], "evaluate").rows[0]
    assert _text(row, word_piece) == (
        "[CLS] P0 P1 Tom Smith ran and * he * slept P2 P3 pronoun ' * he * ' refers to "
        "[MASK] [MASK] [MASK] . [SEP]"
    )


def test_truncation_fills_the_length_exactly_and_is_counted(
    word_piece: Tokenization, causal: Tokenization
) -> None:
    long = Question(idx=(0,), label=1, passage="The cat sat " * 9, question="is it tired")
    for tokens in (word_piece, causal):
        encoder = RowEncoder(find_task("BoolQ"), find_task("BoolQ").pattern(), tokens, 20)
        whole = RowEncoder(find_task("BoolQ"), find_task("BoolQ").pattern(), tokens, 99)
        rows = encoder.encode([BOOLQ, long], "train")
        uncut = whole.encode([BOOLQ, long], "train")
        assert len(rows.rows[1].ids) == 20
        assert rows.cut_tokens == len(uncut.rows[1].ids) - 20
        assert (rows.cut_records, uncut.cut_tokens) == (1, 0)
        assert "tired" in _text(rows.rows[1], tokens)


def test_choices_are_cut_alike_and_the_longest_fits(
    word_piece: Tokenization, causal: Tokenization
) -> None:
    for tokens in (word_piece, causal):
        length = max(len(r.ids) for r in _encoder("COPA", tokens).encode([COPA], "evaluate").rows)
        encoder = RowEncoder(find_task("COPA"), find_task("COPA").pattern(), tokens, length - 1)
        rows = encoder.encode([COPA], "evaluate")
        assert max(len(row.ids) for row in rows.rows) == length - 1
        assert [row.cut for row in rows.rows] == [1, 1]
        assert (rows.cut_tokens, rows.cut_records) == (1, 1)


def test_a_record_that_cannot_be_cut_enough_is_refused(word_piece: Tokenization) -> None:
    encoder = RowEncoder(find_task("BoolQ"), find_task("BoolQ").pattern(), word_piece, 10)
    with pytest.raises(UserError, match="record 0 of BoolQ is 4 tokens too long for max_length 10"):
        encoder.encode([BOOLQ], "train")


@pytest.mark.parametrize(
    ("task", "name", "lost"),
    [
        ("BoolQ", "manual_4", "passage"),
        ("RTE", "manual_1", "premise"),
        ("MultiRC", "manual_3", "answer"),
    ],
)
def test_a_causal_model_refuses_a_text_behind_the_target(
    task: str, name: str, lost: str, causal: Tokenization
) -> None:
    with pytest.raises(UserError, match=f"would miss {lost}"):
        _encoder(task, causal, find_task(task).pattern(name))


@pytest.mark.parametrize("task", [name for name in TASKS if name != "ReCoRD"])
def test_every_task_has_a_pattern_with_and_without_anchors_and_a_manual_one(task: str) -> None:
    known = TASKS[task]
    for name, pattern in known.patterns.items():
        assert all(hasattr(known.record, attribute) for attribute in pattern.names), name
        assert bool(pattern.num_slots) != name.startswith("manual")
        assert set(pattern.words) == (set(known.labels) if known.answer == "words" else set())
    for number, pattern in known.reference_patterns.items():
        assert pattern.num_slots == number
    assert {"ptuning", "no_anchors", "manual_0"} <= set(known.patterns)
    with pytest.raises(UserError, match=f"{task} has no pattern 'best'; it has ptuning"):
        known.pattern("best")


def test_a_pattern_of_ones_own_is_checked(word_piece: Tokenization) -> None:
    with pytest.raises(UserError, match="has no targets"):
        Pattern.parse("{passage} [P]")
    with pytest.raises(UserError, match="has 2 targets"):
        Pattern.parse("[Y] {passage} [Y]")
    with pytest.raises(UserError, match=r"\[P\]\*0' is not allowed"):
        Pattern.parse("{passage} [P]*0 [Y]")
    with pytest.raises(UserError, match="a record of BoolQ has no premise"):
        _encoder("BoolQ", word_piece, Pattern.parse("{premise} [Y]", YES_NO))
    with pytest.raises(UserError, match="has no word for False, True of BoolQ"):
        _encoder("BoolQ", word_piece, Pattern.parse("{passage} [Y]"))
    with pytest.raises(UserError, match="label 'True' of BoolQ: the word 'perhaps' is not one"):
        words = {"True": "perhaps", "False": "No"}
        _encoder("BoolQ", word_piece, Pattern.parse("{passage} [Y]", words))
    with pytest.raises(UserError, match="cannot have 3 prompt slots"):
        find_task("RTE").pattern("manual_0", num_slots=3)


def test_record_is_read_but_not_tuned() -> None:
    with pytest.raises(UserError, match="ReCoRD is read but not tuned"):
        TASKS["ReCoRD"].pattern()
    with pytest.raises(UserError, match="unknown task 'SST-2'; known: BoolQ"):
        find_task("SST-2")


@pytest.mark.parametrize(
    ("decoded", "found"),
    [
        ("tom", True),
        ("Tom Smith .", True),
        ("the Tom Smith", True),
        ("he", False),
        ("Tom and", False),
    ],
)
def test_a_decoded_phrase_counts_if_it_contains_or_is_contained(decoded: str, found: bool) -> None:
    assert refers(decoded, WSC) is found


def test_an_empty_phrase_counts_only_as_in_the_reference() -> None:
    assert not refers(" . ", WSC)
    assert refers(" . ", WSC, empty_refers=True)
