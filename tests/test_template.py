"""Cloze patterns: what they mean, and which of them are refused."""

from pathlib import Path

import pytest

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.template import NO_SLOT, Template
from ptune_scale.tokenization import Tokenization


@pytest.fixture(scope="module")
def causal(tiny_gpt2: Path) -> Tokenization:
    return load_backbone(str(tiny_gpt2)).tokens


@pytest.fixture(scope="module")
def masked(tiny_bert: Path) -> Tokenization:
    return load_backbone(str(tiny_bert)).tokens


def test_both_notations_give_the_same_template(causal: Tokenization) -> None:
    paper = Template.parse("(3, sub, 2, obj)")
    bracket = Template.parse("[P]*3 [X] [P]*2 [Y]")
    assert paper == bracket
    assert paper.parts == bracket.parts
    assert paper.num_slots == 5
    assert paper.render("Norway", causal) == bracket.render("Norway", causal)


def test_a_run_of_zero_slots_vanishes_from_a_tuple() -> None:
    assert Template.parse("(0, sub, 3, obj, 0)") == Template.parse("[X] [P]*3 [Y]")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[P] [X] [Q] [Y]", r"unknown placeholder \[Q\]"),
        ("(3, sub, 3, object)", "unknown placeholder 'object'"),
        ("[P]*3 [X]", "no targets"),
        ("[X] [Y] [Y]", "2 targets"),
        ("[P]*3 [Y]", "no subjects"),
        ("[X] [X] [Y]", "2 subjects"),
        ("[P]*0 [X] [Y]", "not allowed"),
        ("[X]*2 [Y]", "not allowed"),
    ],
)
def test_a_pattern_that_makes_no_sense_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Template.parse(pattern)


@pytest.mark.parametrize("pattern", ["[X] was born in [Y] .", "[P] [X] [Y] [P]", "[Y] is [X]"])
def test_a_causal_model_refuses_anything_behind_the_target(
    pattern: str, causal: Tokenization
) -> None:
    template = Template.parse(pattern)
    with pytest.raises(UserError, match="must be last"):
        template.check("causal")
    with pytest.raises(UserError, match="must be last"):
        template.render("Norway", causal)
    template.check("masked")


def test_a_manual_prompt_is_cut_behind_its_target(causal: Tokenization) -> None:
    cut = Template.parse("[X] was born in [Y] .").cut_after_target()
    assert cut == Template.parse("[X] was born in [Y]")
    cloze = cut.render("Dante", causal)
    assert causal.tokenizer.decode(cloze.ids) == "Dante was born in"
    assert cloze.target == len(cloze.ids) - 1


def test_a_manual_prompt_whose_subject_would_be_cut_off_is_refused() -> None:
    with pytest.raises(UserError, match="behind the target"):
        Template.parse("[Y] is the capital of [X]").cut_after_target()


def test_the_trailing_space_reading_has_one_more_token_than_the_plain_one(
    causal: Tokenization,
) -> None:
    template = Template.parse("[X] was born in [Y]")
    plain = template.render("Dante", causal)
    spaced = template.render("Dante", causal, trailing_space=True)
    assert spaced.ids[:-1] == plain.ids
    assert causal.tokenizer.decode(spaced.ids) == "Dante was born in "
    assert spaced.target == plain.target + 1


def test_slots_are_numbered_from_left_to_right_over_the_whole_pattern(
    causal: Tokenization, masked: Tokenization
) -> None:
    template = Template.parse("[P]*2 [X] is in [P] [Y]")
    for tokens in (causal, masked):
        cloze = template.render("Norway", tokens)
        assert len(cloze.slots) == len(cloze.ids)
        assert [slot for slot in cloze.slots if slot != NO_SLOT] == [0, 1, 2]
        at_slots = [i for i, slot in zip(cloze.ids, cloze.slots, strict=True) if slot != NO_SLOT]
        assert set(at_slots) == {tokens.placeholder}
    assert template.render("Norway", causal).slots[:2] == (0, 1)
    assert template.render("Norway", masked).slots[:3] == (NO_SLOT, 0, 1)


@pytest.mark.parametrize(
    ("pattern", "target"), [("[Y] is in [X]", 1), ("[X] [Y] [P]", 2), ("[X] is in [P] [Y] .", 5)]
)
def test_a_masked_model_takes_its_target_anywhere(
    pattern: str, target: int, masked: Tokenization
) -> None:
    cloze = Template.parse(pattern).render("Norway", masked)
    tokenizer = masked.tokenizer
    assert cloze.target == target
    assert cloze.ids[target] == tokenizer.mask_token_id
    assert (cloze.ids[0], cloze.ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_a_causal_target_without_anything_before_it_is_refused(causal: Tokenization) -> None:
    with pytest.raises(UserError, match="nothing to predict"):
        Template.parse("[X] [Y]").render(" ", causal)


@pytest.mark.parametrize("pattern", ["(2, sub, 2, obj)", "[P] [X] is in [P] [Y]"])
def test_a_space_before_a_slot_is_no_token_of_its_own(tiny_gpt2, pattern):
    tokens = load_backbone(str(tiny_gpt2)).tokens
    cloze = Template.parse(pattern).render("Norway", tokens)
    words = [i for i, slot in zip(cloze.ids, cloze.slots, strict=True) if slot == NO_SLOT]
    text = " Norway" if pattern.startswith("(") else " Norway is in"
    assert words == tokens.after(text)


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_words_become_slots_that_know_them(kind: str, request: pytest.FixtureRequest) -> None:
    tokens = request.getfixturevalue(kind)
    manual = Template.parse("the capital of [X] is [Y]")
    with_slots, words = manual.words_as_slots(tokens)
    assert with_slots.pattern == "[P]*3 [X] [P]*1 [Y]"
    plain, cloze = manual.render("Norway", tokens), with_slots.render("Norway", tokens)
    filled = [
        word if slot == NO_SLOT else words[slot]
        for word, slot in zip(cloze.ids, cloze.slots, strict=True)
    ]
    assert filled == list(plain.ids) and cloze.target == plain.target


def test_a_template_without_words_has_none_to_begin_from(causal: Tokenization) -> None:
    with pytest.raises(UserError, match="no words that prompts could begin as"):
        Template.parse("[X] [Y]").words_as_slots(causal)
