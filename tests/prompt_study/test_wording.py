"""Prompts of a study: the paper's, published ones, and files."""

import json
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.prompt_study.wording import (
    papers_patterns,
    papers_setting,
    papers_wordings,
    read_patterns,
    wordings,
)
from ptune_scale.superglue import find_task

RTE = find_task("RTE")


def _file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_papers_prompts_of_table_1_and_their_numbers() -> None:
    assert papers_wordings("P17") == {
        "[X] is located in [Y].": 31.29,
        "[X] is located in which country or state? [Y].": 19.78,
        "[X] is located in which country? [Y].": 31.40,
        "[X] is located in which country? In [Y].": 51.08,
    }
    assert papers_wordings("P36") == {} and papers_setting("P36") == ""


def test_the_papers_patterns_of_table_6_are_those_of_the_task() -> None:
    numbers = papers_patterns("RTE")
    assert numbers["manual_5"] == {"small": 53.12, "full": 57.16}
    assert len(numbers) == 4 and set(numbers) <= set(RTE.patterns)
    texts = [RTE.patterns[name].text for name in sorted(numbers)]
    assert "Does {premise" in texts[0] and "Does {claim" in texts[1]
    assert "Premise:" in texts[2] and "true or false?" in texts[3]
    assert papers_patterns("CB") == {}


def test_published_prompts_are_taken_where_they_are(tmp_path: Path) -> None:
    own = "[X] is in [Y] ."
    assert [w.text for w in wordings("P36", own, tmp_path, "")] == [own]
    mined = tmp_path / "prompts" / "lpaqa" / "mine" / "P17.jsonl"
    mined.parent.mkdir(parents=True)
    lines = [{"template": "[X] of [Y]", "weight": 0.1}, {"template": "[X] [Y]", "weight": 0.9}]
    mined.write_text("\n".join(map(json.dumps, lines)))
    found = wordings("P17", own, tmp_path, "")
    assert [w.source for w in found] == 4 * ["paper"] + ["LAMA"] + 2 * ["LPAQA mine"]
    assert [w.text for w in found[5:]] == ["[X] [Y]", "[X] of [Y]"]  # the heaviest first


def test_a_file_takes_the_place_of_all_others(tmp_path: Path) -> None:
    path = _file(tmp_path, "[X] is in [Y].", "", '{"template": "[X] of [Y]", "weight": 1}')
    found = wordings("P17", "unused [X] [Y]", tmp_path, str(path))
    assert [(w.text, w.source) for w in found] == [
        ("[X] is in [Y].", "mine.txt:1"),
        ("[X] of [Y]", "mine.txt:3"),
    ]


def test_patterns_of_a_file_have_the_tasks_words_or_their_own(tmp_path: Path) -> None:
    words = {"entailment": "true", "not_entailment": "false"}
    own = {"pattern": "{premise...} {hypothesis} [Y]", "words": words}
    path = _file(tmp_path, "{premise...} So {claim}? [Y]", json.dumps(own))
    first, second = read_patterns(RTE, path).items()
    assert first[0] == "manual_mine_1" and second[0] == "manual_mine_2"
    assert first[1].words == RTE.pattern().words and second[1].words == words


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{premise...} no target", r"mine.txt:2: pattern .* has no targets"),
        ("{text} [Y]", "mine.txt:2: .* a record of RTE has no text"),
        ("{premise...} [P] [Y]", "mine.txt:2: .* has no prompt slots"),
        ('{"pattern": "{premise...} [Y]"', "mine.txt:2: bad record: not JSON"),
        ('{"text": "{premise...} [Y]"}', "mine.txt:2: bad record: 'pattern' is missing"),
        ('{"pattern": "{premise...} [Y]", "words": {"entailment": "Yes"}}', "mine.txt:2: 'words'"),
    ],
)
def test_a_bad_line_is_named(line: str, reason: str, tmp_path: Path) -> None:
    path = _file(tmp_path, "{premise...} {claim}? [Y]", line)
    with pytest.raises(UserError, match=reason):
        read_patterns(RTE, path)


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mine.txt holds no patterns"):
        read_patterns(RTE, _file(tmp_path, "", ""))
    with pytest.raises(UserError, match="nowhere.txt cannot be read"):
        wordings("P17", "", tmp_path, str(tmp_path / "nowhere.txt"))
