"""Published prompts: what is read, what is refused, and what a kind of model can be asked."""

from collections import Counter
from pathlib import Path

import pytest

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.lama.reader.published import (
    WordPrompt,
    prompts_directory,
    read_lpaqa,
    usable,
    word_pattern,
)
from ptune_scale.task.fill import Filler, Row
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.tokenization import Tokenization

GOOD = '{"template": "[X] is in [Y] .", "weight": 0.75}'


@pytest.fixture
def mined(tmp_path: Path) -> Path:
    """The file of LPAQA's mined prompts of P17; its directory is two up."""
    path = tmp_path / "lpaqa" / "mine" / "P17.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(GOOD + "\n")
    return path


def test_prompts_are_read_as_they_are_written(mined: Path, tmp_path: Path) -> None:
    found = read_lpaqa(tmp_path, "mine", ["P17"])
    assert found.prompts == {"P17": [WordPrompt("[X] is in [Y] .", 0.75)]}
    assert not found.dropped


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ('{"weight": 1}', "'template' is missing"),
        ('{"template": "[X] [Y]"}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": "1"}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": true}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": -0.1}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": NaN}', "not JSON"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line_or_counted(mined, tmp_path, line, reason) -> None:
    mined.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(UserError, match=rf"P17\.jsonl:2: bad record: .*{reason}"):
        read_lpaqa(tmp_path, "mine", ["P17"])
    found = read_lpaqa(tmp_path, "mine", ["P17"], "skip")
    assert len(found.prompts["P17"]) == 1
    assert found.dropped == Counter({"bad record": 1})


def test_what_is_missing_is_named_with_what_is_expected(mined: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'P19\.jsonl does not exist; expected a {"template"'):
        read_lpaqa(tmp_path, "mine", ["P17", "P19"])
    mined.write_text("")
    with pytest.raises(UserError, match="holds no prompts"):
        read_lpaqa(tmp_path, "mine", ["P17"])
    with pytest.raises(UserError, match="--prompts_dir"):
        prompts_directory("embedded", "")
    assert prompts_directory("embedded", "here") == Path("here")
    assert prompts_directory("LAMA", "") == Path("LAMA/prompts")


PROMPTS = [
    WordPrompt("[X] in [Y] .", 0.25),
    WordPrompt("[Y] of [X]", 0.5),
    WordPrompt("[X] near [Y]", 0.375),
    WordPrompt("[X] in  [Y] !", 0.25),
    WordPrompt("[X] and [X] in [Y]", 1.0),
    WordPrompt("nothing at all", 1.0),
]


def test_what_a_causal_model_cannot_use_is_counted_and_equal_beginnings_are_one() -> None:
    found = usable(PROMPTS, "causal")
    assert [p.text for p in found.patterns] == ["[X] in [Y]", "[X] near [Y]"]
    assert found.weights == [0.5, 0.375]
    assert found.left_out == {
        "subject behind the target": 1,
        "not one [X] and one [Y]": 2,
        "the same up to the target as another": 1,
    }


def test_a_masked_model_uses_both_orders_and_the_heaviest_are_kept() -> None:
    found = usable(PROMPTS, "masked", at_most=2)
    assert [p.text for p in found.patterns] == ["[Y] of [X]", "[X] near [Y]"]
    assert found.left_out == {"not one [X] and one [Y]": 2, "beyond the heaviest": 2}


def _row(pattern: Pattern, tokens: Tokenization) -> Row:
    filler = Filler(pattern, tokens, whose="P17")
    parts, _ = filler.fill(Record("0", {"subject": "Norway"}, None), masks=tokens.kind == "masked")
    return filler.join(parts, [0])


def test_numbers_in_parentheses_and_words_in_brackets_are_words(tiny_gpt2, tiny_bert) -> None:
    text = "( 3 , [X] [P]*2 [a] ) [Y] ) ."
    tokens = load_backbone(str(tiny_gpt2)).tokens
    row = _row(word_pattern(text, "causal"), tokens)
    assert tokens.tokenizer.decode(row.ids) == "( 3 , Norway [P]*2 [a] )"
    assert set(row.slots) == {-1} and row.targets == (len(row.ids) - 1,)
    tokens = load_backbone(str(tiny_bert)).tokens
    row = _row(word_pattern("[Y] , a city in [X] .", "masked"), tokens)
    assert tokens.tokenizer.decode(row.ids) == "[CLS] [MASK], a city in Norway. [SEP]"
    assert row.ids[row.targets[0]] == tokens.mask_token


def test_words_in_braces_would_be_fields_and_are_left_out() -> None:
    with pytest.raises(UserError, match="words in braces"):
        word_pattern("[X] {of} [Y]", "causal")
