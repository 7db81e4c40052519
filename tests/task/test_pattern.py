"""The notation: what it means, and what is refused."""

import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.pattern import Pattern, Separator, Slots, Target, TextPiece


def test_both_notations_of_a_fact_are_the_same_pattern() -> None:
    expected = Pattern.parse("[P]*3 {subject} [P]*2 [Y]").pieces
    for text in ("(3, sub, 2, obj)", "[P]*3 [X] [P]*2 [Y]", "( 3,sub ,2,obj )"):
        pattern = Pattern.parse(text)
        assert (pattern.pieces, pattern.num_slots, pattern.names) == (expected, 5, ["subject"])


def test_a_run_of_zero_slots_vanishes_from_a_tuple() -> None:
    assert Pattern.parse("(0, sub, 3, obj, 0)") == Pattern.parse("[X] [P]*3 [Y]")


def test_pieces_stand_in_order_and_know_the_space_before_them() -> None:
    pattern = Pattern.parse("{text...} [SEP] It's {name}! [P]*2 Label:[Y].")
    assert pattern.pieces == (
        TextPiece("{text}", may_be_cut=True),
        Separator(),
        TextPiece("It's", space=True),
        TextPiece("{name}", space=True),
        TextPiece("!"),
        Slots(2),
        TextPiece("Label:", space=True),
        Target(space=False),
        TextPiece("."),
    )
    assert pattern.names == ["text", "name"]


def test_fields_may_be_called_anything_that_stands_in_a_file() -> None:
    pattern = Pattern.parse("{First name} {deep.choices.0} {größe...} {Alter (Jahre)} [Y]")
    assert pattern.names == ["First name", "deep.choices.0", "größe", "Alter (Jahre)"]
    fields = {"First name": "Ada", "deep.choices.0": "a", "größe": "b", "Alter (Jahre)": "36"}
    texts = [piece.filled(fields) for piece in pattern.pieces if isinstance(piece, TextPiece)]
    assert texts == ["Ada", "a", "b", "36"]


def test_braces_and_brackets_that_name_nothing_are_words() -> None:
    text = '{"a": {} [1] [P0] {text} [Y]'
    assert Pattern.parse(text).names == ["text"]


def test_a_field_is_named_once_however_often_it_stands_there() -> None:
    assert Pattern.parse("{a} {b} {a|lower} [Y]").names == ["a", "b"]


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        ("a|bare", "It rains...!", "It rains"),
        ("a|clause", "It rains.", "it rains"),
        ("a|lower", "It Rains.", "it rains."),
        ("a|upper", "It", "IT"),
        ("a|capitalize", "it Rains", "It Rains"),
        ("a|bare|upper", "it.", "IT"),
        ("a | effect = so | cause = because", "cause", "because"),
        ("a|x=so|upper", "x", "SO"),
    ],
)
def test_filters_change_a_text(expression: str, text: str, expected: str) -> None:
    piece = Pattern.parse(f"{{{expression}}} [Y]").pieces[0]
    assert isinstance(piece, TextPiece) and piece.names == ["a"]
    assert piece.filled({"a": text}) == expected


def test_a_text_that_a_filter_has_no_word_for_is_refused() -> None:
    piece = Pattern.parse("{a|x=so|y=because} [Y]").pieces[0]
    assert isinstance(piece, TextPiece)
    with pytest.raises(UserError, match="field 'a' is 'z'; the pattern has words for x, y only"):
        piece.filled({"a": "z"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[P] [X] [Q] [Y]", r"unknown placeholder \[Q\]; use \{name\} for a field"),
        ("{text} [MASK]", r"unknown placeholder \[MASK\]"),
        ("(3, sub, 3, object)", "unknown placeholder 'object'"),
        ("[P]*3 [X]", "has no targets; write .Y. exactly once"),
        ("", "no targets"),
        ("[X] [Y] [Y]", "2 targets"),
        ("[P]*0 [X] [Y]", r"'\[P\]\*0' is not allowed; repeat \[P\] once or more"),
        ("[X]*2 [Y]", "only .P. can be repeated"),
        ("[X] [Y]*2", "only .P. can be repeated"),
        ("{text|shout} [Y]", "no filter 'shout'; there are bare"),
    ],
)
def test_a_pattern_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        Pattern.parse(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{a} [P]", "is to be classified"), ("{a} [Y]", "leave out .Y. and .P.")],
)
def test_texts_that_are_classified_have_neither_target_nor_slots(text: str, message: str) -> None:
    assert Pattern.untargeted("{a} [SEP] {b}").names == ["a", "b"]
    with pytest.raises(UserError, match=message):
        Pattern.untargeted(text)


def test_a_chat_is_exact_to_the_space() -> None:
    pattern = Pattern.chat("<s>[INST] [P]*2 {user...} \n[/INST]\n\n[Y]")
    assert pattern.pieces == (
        TextPiece("<s>[INST] "),
        Slots(2),
        TextPiece(" "),
        TextPiece("{user}", may_be_cut=True),
        TextPiece(" \n[/INST]\n\n"),
        Target(space=False),
    )


def test_a_reference_pattern_is_cut_at_its_bars() -> None:
    pattern = Pattern.reference("{premise...}|[P]|? |{question} [SEP]|[Y].")
    assert pattern.pieces == (
        TextPiece("{premise}", may_be_cut=True),
        Slots(1),
        TextPiece("? "),
        TextPiece("{question} [SEP]"),
        Target(glued="."),
    )
    assert pattern.names == ["premise", "question"]


@pytest.mark.parametrize(
    "pattern",
    [
        Pattern.parse("{a} [P]*2 is [Y]"),
        Pattern.reference("{a...}|[P]*2|is|[Y]."),
        Pattern.chat("{a} [P]*2\nis[Y]"),
    ],
)
def test_a_pattern_can_be_read_again_from_its_text_and_spelling(pattern: Pattern) -> None:
    again = Pattern.read(pattern.text, pattern.spelling)
    assert again == pattern and again.pieces == pattern.pieces


def test_slots_can_be_as_many_as_are_asked_for_or_none() -> None:
    pattern = Pattern.parse("[P] {a} is [P]*3 in [Y]")
    assert pattern.with_slots(2) == Pattern.parse("[P]*2 {a} is [P]*2 in [Y]")
    assert pattern.without_slots() == Pattern.parse("{a} is in [Y]")
    assert Pattern.parse("{a}. [P]*4 Kind: [Y]").without_slots().text == "{a}. Kind: [Y]"
    for bad in (pattern.without_slots(), Pattern.reference("{a}|[P]|[Y]")):
        with pytest.raises(UserError, match="cannot have 2 prompt slots a place"):
            bad.with_slots(2)


def test_a_causal_model_gets_what_stands_up_to_the_target() -> None:
    pattern = Pattern.parse("{a} was born in [Y] .")
    assert pattern.usable_by("causal").pieces == Pattern.parse("{a} was born in [Y]").pieces
    assert pattern.usable_by("masked") == pattern
    assert pattern.cut_after_target().pieces == pattern.pieces[:-1]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (Pattern.parse("[Y] is the capital of {a}"), "would miss a; choose another pattern or a m"),
        (Pattern.parse("{a} [P] [Y] [P]"), "slots there cannot be tuned; move them in front"),
        (Pattern.reference("{a}|[P]|[Y]"), "the reference spelling is for masked models only"),
    ],
)
def test_what_a_causal_model_cannot_see_is_refused(pattern: Pattern, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pattern.usable_by("causal")
    assert pattern.usable_by("masked") == pattern


def test_a_field_that_records_lack_is_named_with_those_that_they_have() -> None:
    pattern = Pattern.parse("{text} {more|lower} [Y]")
    pattern.check_fields({"text", "more", "label"}, "a.jsonl")
    with pytest.raises(UserError, match="a.jsonl has no field 'more'; it has text, label"):
        pattern.check_fields(["text", "label"], "a.jsonl")


@pytest.mark.parametrize("count", ["100001", "99999999999", "9" * 5000])
def test_more_slots_than_any_model_takes_are_refused(count: str) -> None:
    for text in (f"{{a}} [P]*{count} [Y]", f"({count}, sub, obj)"):
        with pytest.raises(UserError, match="repeated more than 100000 times") as refused:
            Pattern.parse(text)
        assert len(str(refused.value)) < 300
    assert Pattern.parse("{a} [P]*0003 [Y]").num_slots == 3
