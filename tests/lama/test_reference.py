"""The reference implementation's layouts for LAMA, token by token."""

from pathlib import Path
from random import Random

import pytest

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.lama.reference import Reference, reference_counts, reference_pattern
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import NO_SLOT, Example
from ptune_scale.task.pattern import Kind
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.task.tokenization import Tokenization

NORWAY = Record("0", {"subject": "Norway"}, "Oslo")


def _asked(directory: Path, kind: Kind, counts: tuple[int, ...], **limits: int) -> AskedTask:
    wording = Wording(reference_pattern(counts, kind), Reference({"full_vocab": None}, True))
    tokens = load_backbone(str(directory)).tokens
    return AskedTask(Task("P36", wording, Splits((), (), ())), tokens, 0, **limits)


def _row(asked: AskedTask) -> Example:
    [row] = asked.bound.question(NORWAY, "train", Random(0)).rows
    return row


def _text(row: Example, tokens: Tokenization) -> str:
    names = tokens.tokenizer.convert_ids_to_tokens(list(row.ids))
    return " ".join(
        name if slot == NO_SLOT else f"P{slot}" for name, slot in zip(names, row.slots, strict=True)
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
    asked = _asked(tiny_bert, "masked", counts)
    row = _row(asked)
    assert _text(row, asked.filler.tokens) == expected
    assert row.targets == (expected.split().index("[MASK]"),) * 2
    assert row.answers == (asked.filler.tokens.word_token("Oslo"),) * 2
    assert asked.num_slots == sum(counts)


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
    asked = _asked(tiny_gpt2, "causal", counts)
    row = _row(asked)
    assert _text(row, asked.filler.tokens) == expected
    length = len(expected.split())
    assert row.targets == (length - 2, length - 1)
    assert asked.num_slots == expected.count("P")


@pytest.mark.parametrize("template", ["(3, 3)", "(3, -1, 3)", "(3, sub, 3, obj)", "[P] [X] [Y]"])
def test_what_is_not_three_numbers_is_refused(template: str) -> None:
    with pytest.raises(UserError, match="three numbers of prompt slots"):
        reference_counts(template)


def test_a_row_that_is_longer_than_the_context_is_refused(tiny_gpt2: Path) -> None:
    with pytest.raises(UserError, match="record 0 of P36 is 2 tokens too long for max_length 5"):
        _row(_asked(tiny_gpt2, "causal", (3, 3, 3), context_length=5))
