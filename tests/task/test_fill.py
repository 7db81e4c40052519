"""Patterns filled with records: spaces, slots, targets, and what is cut where a row is too long."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ptune_scale.errors import UserError
from ptune_scale.task.example import NO_SLOT
from ptune_scale.task.fill import Filler, Row, content_free, words_as_slots
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.tokenization import Tokenization


@pytest.fixture(scope="module")
def sentence_piece() -> Tokenization:
    """As ALBERT's: a text on its own begins with a space, even if it is a question mark."""
    words = ["the", "city", "is", "in", "Norway", "Oslo", "?", "."]
    pieces = ["[PAD]", "[UNK]", "[MASK]", "▁", *(f"▁{word}" for word in words), *words]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )
    return Tokenization(fast, "masked")


def record(fields: Mapping[str, str] | None = None, **more: str) -> Record:
    return Record("7", {**(fields or {}), **more}, None, source="a.jsonl:8")


def filler(pattern: str | Pattern, tokens: Tokenization, **more: Any) -> Filler:
    made = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
    return Filler(made, tokens, whose="cb", **more)


def row(pattern: str | Pattern, tokens: Tokenization, asked: Record, **more: Any) -> Row:
    made = filler(pattern, tokens, **more)
    parts, _ = made.fill(asked, masks=tokens.kind == "masked")
    return made.join(parts, [0])


def written(made: Row, tokens: Tokenization) -> str:
    names = tokens.tokenizer.convert_ids_to_tokens(list(made.ids))
    return " ".join(
        name if slot == NO_SLOT else f"P{slot}"
        for name, slot in zip(names, made.slots, strict=True)
    )


PLACE = record(a="Norway", b="the city")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{a} is in [Y] .", "Nor way Ġis Ġin"),
        ("[P]*2 {a} is [P] [Y]", "P0 P1 ĠNorway Ġis P2"),
        ("{b}, {a}: [P] [Y]", "the Ġcity , ĠNorway : P0"),
        ("{b} [SEP] {a} [P] [Y]", "the Ġcity Ċ Nor way P0"),
        ("{b}'s {a}([P] [Y]", "the Ġcity ' s ĠNorway ( P0"),
    ],
)
def test_words_are_spelled_as_in_a_sentence_by_byte_pairs(
    pattern: str, expected: str, causal: Tokenization
) -> None:
    made = row(pattern, causal, PLACE)
    assert written(made, causal) == expected
    assert made.targets == (len(made.ids) - 1,)


@pytest.mark.parametrize(
    ("pattern", "expected", "target"),
    [
        ("{a} is in [Y] .", "[CLS] Norway is in [MASK] . [SEP]", 4),
        ("[P]*2 {a} [P] [Y]", "[CLS] P0 P1 Norway P2 [MASK] [SEP]", 5),
        ("{b} [SEP] {a} [Y] [P]", "[CLS] the city [SEP] Norway [MASK] P0 [SEP]", 5),
        ("[Y] is in {a}", "[CLS] [MASK] is in Norway [SEP]", 1),
    ],
)
def test_a_masked_model_has_its_target_anywhere(
    pattern: str, expected: str, target: int, masked: Tokenization
) -> None:
    made = row(pattern, masked, PLACE)
    assert written(made, masked) == expected and made.targets == (target,)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (Pattern.parse("{b} is in {a}? [P] [Y]."), "▁the ▁city ▁is ▁in ▁Norway ? P0 [MASK] ."),
        (Pattern.parse("[P]{a}? [Y]"), "P0 ▁Norway ? [MASK]"),
        (Pattern.reference("{b}|is in|{a}|?|[P]|[Y]."), None),
    ],
)
def test_a_question_mark_on_its_own_is_spelled_otherwise_in_sentence_pieces(
    pattern: Pattern, expected: str | None, sentence_piece: Tokenization
) -> None:
    # Each stretch of a reference pattern is tokenized on its own, that of the mask with its end.
    expected = expected or "▁the ▁city ▁is ▁in ▁Norway ▁? P0 [MASK] ▁."
    assert written(row(pattern, sentence_piece, PLACE), sentence_piece) == expected


def test_a_chat_is_spelled_exactly_with_no_special_token_but_its_own(masked: Tokenization) -> None:
    made = row(Pattern.chat("[CLS]{a} is[SEP]in [P][Y]"), masked, PLACE)
    assert written(made, masked) == "[CLS] Norway is [SEP] in P0 [MASK]"


def test_slots_are_numbered_from_left_to_right_and_hold_a_placeholder(
    causal: Tokenization, masked: Tokenization
) -> None:
    for tokens in (causal, masked):
        made = row("[P]*2 {a} is in [P] [Y]", tokens, PLACE)
        assert [slot for slot in made.slots if slot != NO_SLOT] == [0, 1, 2]
        at_slots = {i for i, slot in zip(made.ids, made.slots, strict=True) if slot != NO_SLOT}
        assert at_slots == {tokens.placeholder}


@pytest.mark.parametrize("pattern", ["(2, sub, 2, obj)", "[P] [X] is in [P] [Y]"])
def test_a_space_before_a_slot_is_no_token_of_its_own(pattern: str, causal: Tokenization) -> None:
    made = row(pattern, causal, record(subject="Norway"))
    words = [i for i, slot in zip(made.ids, made.slots, strict=True) if slot == NO_SLOT]
    assert words == causal.after(" Norway" if pattern.startswith("(") else " Norway is in")


def test_an_answer_is_spelled_as_what_stands_before_it_asks_for(
    causal: Tokenization, masked: Tokenization
) -> None:
    for pattern, text in (("{a} [Y]", " Oslo"), ("{a} [P][Y]", " Oslo"), ("{a} is ([Y]", "Oslo")):
        assert filler(pattern, causal).spell("Oslo") == causal.after(text)
    assert filler("{a} ([Y])", masked).spell("Oslo") == [masked.word_token("Oslo")]


def test_the_space_before_the_target_can_be_a_token_of_its_own(causal: Tokenization) -> None:
    made = filler("{a} was born in [Y]", causal)
    plain, spaced = (
        made.join(made.fill(PLACE, trailing_space=space)[0], [0]) for space in (False, True)
    )
    assert spaced.ids[:-1] == plain.ids and spaced.targets[0] == plain.targets[0] + 1
    assert causal.tokenizer.decode(spaced.ids) == "Norway was born in "


def test_a_causal_row_reads_all_but_the_last_token_of_its_answer(causal: Tokenization) -> None:
    made = filler("{a} [P] [Y]", causal)
    answer = made.spell("Oslo, near a city")
    parts, _ = made.fill(PLACE, target_room=len(answer) - 1)
    whole = made.join(parts, answer)
    assert len(answer) > 3 and whole.ids[-len(answer) + 1 :] == tuple(answer[:-1])
    assert len(whole.targets) == len(answer)
    assert [whole.ids[t + 1] for t in whole.targets[:-1]] == answer[:-1]
    assert whole.slots[whole.targets[0]] == 0


def test_spare_masks_are_left_out_for_a_shorter_answer(masked: Tokenization) -> None:
    made = filler("{a} [Y] .", masked)
    parts, _ = made.fill(PLACE, masks=3)
    assert written(made.join(parts, [5, 6, 7]), masked).count("[MASK]") == 3
    shorter = made.join(parts, [5, 6])
    assert written(shorter, masked) == "[CLS] Norway [MASK] [MASK] . [SEP]"
    assert shorter.targets == (2, 3)


def test_nothing_to_predict_from_is_refused(causal: Tokenization) -> None:
    for pattern in ("[Y]", "{a} [Y]"):
        made = filler(pattern, causal)
        message = "a.jsonl:8: pattern .* leaves nothing to predict the target from"
        with pytest.raises(UserError, match=message):
            made.fill(record(a=""))


def test_a_record_without_the_field_is_named_by_file_and_line(causal: Tokenization) -> None:
    message = "a.jsonl:8: no field 'c', which the pattern of cb needs; it has a, b"
    with pytest.raises(UserError, match=message):
        filler("{a} {c} [Y]", causal).fill(PLACE)


@pytest.mark.parametrize("text", ["{b}", "[P] [Y] [X]", "{a...} {{b}}", r"\1 \g<b> \n"])
def test_a_text_that_looks_like_notation_is_a_text(text: str, causal: Tokenization) -> None:
    made = row("{a} is {b} [P] [Y]", causal, record(a=text, b="the city"))
    assert causal.tokenizer.decode([i for i in made.ids if i]) == f"{text} is the city"
    assert [slot for slot in made.slots if slot != NO_SLOT] == [0]


LONG = record(a="the city is near", b="Oslo Paris Berlin Rome", c="in Norway")


@pytest.mark.parametrize(
    ("too_many", "expected"),
    [
        (0, "[CLS] the city is near . Oslo Paris Berlin Rome in Norway P0 [MASK] [SEP]"),
        (1, "[CLS] the city is near . Oslo Paris Berlin in Norway P0 [MASK] [SEP]"),
        (4, "[CLS] the city is near . in Norway P0 [MASK] [SEP]"),
        (6, "[CLS] the city . in Norway P0 [MASK] [SEP]"),
        (8, "[CLS] . in Norway P0 [MASK] [SEP]"),
    ],
)
def test_the_last_text_that_may_be_cut_is_cut_first(
    too_many: int, expected: str, masked: Tokenization
) -> None:
    length = 15 - too_many
    made = filler("{a...}. {b...} {c} [P] [Y]", masked, max_length=length)
    parts, cut = made.fill(LONG, masks=1)
    found = made.join(parts, [0])
    assert written(found, masked) == expected
    assert (len(found.ids), cut) == (length, too_many)


def test_a_record_that_does_not_fit_even_when_cut_is_refused(masked: Tokenization) -> None:
    made = filler("{a...}. {b...} {c} [P] [Y]", masked, max_length=6)
    message = "a.jsonl:8 of cb is 1 tokens too long for the 6 of max_length"
    with pytest.raises(UserError, match=message):
        made.fill(LONG, masks=1)


def test_the_reference_reserves_the_special_tokens_twice(masked: Tokenization) -> None:
    pattern = Pattern.reference("{b...}|[P]|[Y]")
    parts, cut = filler(pattern, masked, max_length=8).fill(LONG, masks=1)
    assert cut == 2 and len(filler(pattern, masked).join(parts, [0]).ids) == 6
    assert filler("{b...} [P] [Y]", masked, max_length=8).fill(LONG, masks=1)[1] == 0


def test_room_is_kept_for_an_answer_that_is_yet_to_come(causal: Tokenization) -> None:
    made = filler("{b...} [P] [Y]", causal, max_length=8)
    parts, cut = made.fill(LONG, target_room=5)
    assert len(made.join(parts, [0]).ids) == 8 - 5 and cut > 0


def test_what_all_rows_begin_with_is_not_counted(masked: Tokenization) -> None:
    shown = masked.start("the city")
    made = filler("{c} [Y]", masked, max_length=5, beginning=shown)
    parts, cut = made.fill(LONG, masks=1)
    assert cut == 0
    assert written(made.join(parts, [0]), masked) == "[CLS] the city in Norway [MASK] [SEP]"


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(max_size=20), min_size=2, max_size=2),
    pattern=st.sampled_from(
        ["{a...} [P]*2 {b...} [Y]", "[P] {b...}: {a...}? [P] [Y]", "{a...}{b...} [SEP] [P]*2 [Y]"]
    ),
    length=st.integers(8, 30),
    kind=st.sampled_from(["causal", "masked"]),
)
def test_any_texts_make_a_row_that_fits(
    texts: list[str],
    pattern: str,
    length: int,
    kind: str,
    causal: Tokenization,
    masked: Tokenization,
) -> None:
    tokens = {"causal": causal, "masked": masked}[kind]
    asked = record(a=texts[0].strip(), b=texts[1].strip())
    whole, short = filler(pattern, tokens), filler(pattern, tokens, max_length=length)
    uncut = whole.join(whole.fill(asked, masks=kind == "masked")[0], [0])
    parts, cut = short.fill(asked, masks=kind == "masked")
    made = short.join(parts, [0])
    assert len(made.ids) == min(length, len(uncut.ids)) and cut == len(uncut.ids) - len(made.ids)
    assert len(made.slots) == len(made.ids) and made.targets[0] < len(made.ids)
    assert [slot for slot in made.slots if slot != NO_SLOT] == [0, 1]


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_words_become_slots_that_know_them(kind: str, request: pytest.FixtureRequest) -> None:
    tokens = request.getfixturevalue(kind)
    manual = Pattern.parse("the capital of {a|bare} is [Y]")
    with_slots, words = words_as_slots(manual, tokens)
    assert with_slots.text == "[P]*3 {a|bare} [P]*1 [Y]"
    asked = record(a="Norway.")
    plain, slots = row(manual, tokens, asked), row(with_slots, tokens, asked)
    filled = [
        word if slot == NO_SLOT else words[slot]
        for word, slot in zip(slots.ids, slots.slots, strict=True)
    ]
    assert filled == list(plain.ids) and slots.targets == plain.targets


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("{a} [Y]", "has no words that prompts could begin as"), ("{a} is [P] [Y]", "slots already")],
)
def test_a_pattern_without_words_alone_has_none_to_begin_from(
    pattern: str, message: str, causal: Tokenization
) -> None:
    with pytest.raises(UserError, match=message):
        words_as_slots(Pattern.parse(pattern), causal)


def test_a_content_free_record_has_the_same_fields() -> None:
    assert content_free(PLACE.fields).fields == {"a": "N/A", "b": "N/A"}
