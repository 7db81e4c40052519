"""Published prompts: what is read, what is refused, and what a kind of model can be asked."""

import json
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ptune_scale.data.prompts import (
    WordPrompt,
    prompts_directory,
    read_autoprompt,
    read_lpaqa,
    usable,
    word_template,
)
from ptune_scale.errors import UserError
from ptune_scale.tokenization import Tokenization

GOOD = '{"template": "[X] is in [Y] .", "weight": 0.75}'


@pytest.fixture
def mined(tmp_path: Path) -> Path:
    """The file of LPAQA's mined prompts of P17; its directory is two up."""
    path = tmp_path / "lpaqa" / "mine" / "P17.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(GOOD + "\n")
    return path


def test_prompts_are_read_as_they_are_written(mined: Path, tmp_path: Path) -> None:
    assert read_lpaqa(tmp_path, "mine", ["P17"]) == {"P17": [WordPrompt("[X] is in [Y] .", 0.75)]}
    lines = [{"relation": name, "template": f"[X] {name} [Y]."} for name in ("P17", "P19")]
    (tmp_path / "autoprompt_bert.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_autoprompt(tmp_path, "bert", ["P19"]) == {"P19": WordPrompt("[X] P19 [Y].")}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ('{"weight": 1}', "'template' is missing"),
        ('{"template": "[X] [Y]"}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": "1"}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": true}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": -0.1}', "'weight' is missing or not a number"),
        ('{"template": "[X] [Y]", "weight": NaN}', "'weight' is missing or not a number"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line_or_counted(mined, tmp_path, line, reason) -> None:
    mined.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(UserError, match=rf"P17\.jsonl:2: bad record: {reason}"):
        read_lpaqa(tmp_path, "mine", ["P17"])
    dropped: Counter[str] = Counter()
    assert len(read_lpaqa(tmp_path, "mine", ["P17"], "skip", dropped)["P17"]) == 1
    assert dropped == {"bad record": 1}


def test_what_is_missing_is_named_with_what_is_expected(mined: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'P19\.jsonl does not exist; expected a {"template"'):
        read_lpaqa(tmp_path, "mine", ["P17", "P19"])
    with pytest.raises(UserError, match=r"autoprompt_bert\.jsonl does not exist; expected"):
        read_autoprompt(tmp_path, "bert", ["P17"])
    (tmp_path / "autoprompt_bert.jsonl").write_text('{"relation": "P1", "template": "[X] [Y]"}')
    with pytest.raises(UserError, match=r"has no prompt of relation P17"):
        read_autoprompt(tmp_path, "bert", ["P1", "P17"])
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
    assert [t.pattern for t in found.templates] == ["[X] in [Y]", "[X] near [Y]"]
    assert found.weights == (0.5, 0.375)
    assert found.left_out == {
        "subject behind the target": 1,
        "not one [X] and one [Y]": 2,
        "the same up to the target as another": 1,
    }


def test_a_masked_model_uses_both_orders_and_the_heaviest_are_kept() -> None:
    found = usable(PROMPTS, "masked", at_most=2)
    assert [t.pattern for t in found.templates] == ["[Y] of [X]", "[X] near [Y]"]
    assert found.left_out == {"not one [X] and one [Y]": 2, "beyond the heaviest": 2}


def test_numbers_in_parentheses_and_words_in_brackets_are_words(tiny_gpt2, tiny_bert) -> None:
    text = "( 3 , [X] [P]*2 [a] ) [Y] ) ."
    tokens = Tokenization(AutoTokenizer.from_pretrained(tiny_gpt2), "causal")
    cloze = word_template(text, "causal").render("Norway", tokens)
    assert tokens.tokenizer.decode(cloze.ids) == "( 3 , Norway [P]*2 [a] )"
    assert set(cloze.slots) == {-1} and cloze.target == len(cloze.ids) - 1
    tokens = Tokenization(AutoTokenizer.from_pretrained(tiny_bert), "masked")
    cloze = word_template("[Y] , a city in [X] .", "masked").render("Norway", tokens)
    assert tokens.tokenizer.decode(cloze.ids) == "[CLS] [MASK], a city in Norway. [SEP]"
    assert cloze.ids[cloze.target] == tokens.mask_token
