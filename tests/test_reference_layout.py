"""The reference implementation's layouts for LAMA, token by token."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ptune_scale.errors import UserError
from ptune_scale.reference_layout import reference_cloze, reference_template
from ptune_scale.template import NO_SLOT, Cloze
from ptune_scale.tokenization import Kind, Tokenization


def _tokenization(directory: Path, kind: Kind) -> Tokenization:
    return Tokenization(AutoTokenizer.from_pretrained(directory), kind)


def _text(cloze: Cloze, tokens: Tokenization) -> str:
    names = tokens.tokenizer.convert_ids_to_tokens(list(cloze.ids))
    return " ".join(
        name if slot == NO_SLOT else f"P{slot}"
        for name, slot in zip(names, cloze.slots, strict=True)
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((3, 3, 3), "[CLS] P0 P1 P2 [MASK] P3 P4 P5 Norway P6 P7 P8 [SEP]"),
        ((1, 2, 0), "[CLS] P0 [MASK] P1 P2 Norway . [SEP]"),
        ((0, 0, 1), "[CLS] [MASK] Norway P0 [SEP]"),
    ],
)
def test_a_masked_model_has_its_target_in_front_of_the_subject(
    counts: tuple[int, int, int], expected: str, tiny_bert: Path
) -> None:
    tokens = _tokenization(tiny_bert, "masked")
    for reading in ("trained", "scored"):
        cloze = reference_cloze("Norway", counts, tokens, reading)
        assert _text(cloze, tokens) == expected
        assert cloze.target == expected.split().index("[MASK]")
    assert reference_template(counts, tokens.kind).num_slots == sum(counts)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((3, 3, 3), "P0 P1 P2 ĠNorway P3 P4 P5"),
        ((0, 2, 0), "ĠNorway P0 P1"),
        ((2, 0, 5), "P0 P1 ĠNorway"),
    ],
)
def test_a_causal_model_is_trained_one_position_before_it_is_scored(
    counts: tuple[int, int, int], expected: str, tiny_gpt2: Path
) -> None:
    tokens = _tokenization(tiny_gpt2, "causal")
    trained, scored = (reference_cloze("Norway", counts, tokens, r) for r in ("trained", "scored"))
    assert _text(trained, tokens) == _text(scored, tokens) == expected
    length = len(expected.split())
    assert (trained.target, scored.target) == (length - 2, length - 1)
    assert reference_template(counts, tokens.kind).num_slots == expected.count("P")


def test_counts_that_are_none_or_leave_nothing_are_refused(tiny_gpt2: Path) -> None:
    tokens = _tokenization(tiny_gpt2, "causal")
    with pytest.raises(UserError, match="three numbers"):
        reference_cloze("Norway", (3, 3), tokens, "scored")
    with pytest.raises(UserError, match="three numbers"):
        reference_cloze("Norway", (3, -1, 3), tokens, "scored")
    with pytest.raises(UserError, match="leaves no position"):
        reference_cloze("Norway", (0, 0, 0), tokens, "trained")
