"""Prompts of a study: the paper's, published ones, and files."""

import json
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.prompt_study.prompts import (
    StudyPrompt,
    of_relation,
    of_task,
    papers_rows,
)
from ptune_scale.superglue.tasks import find_task
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.words import Words
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from tests.campaigns.damage import JSON_VALUES

OWN = "[X] is in [Y] ."


def relation(name: str) -> Task:
    answer = Ranked({"full_vocab": None}, one_token=True)
    records = (Record("0", {"subject": "Norway"}, "Oslo"),)
    manual = {"manual": Wording(Pattern.parse(OWN), answer)}
    wording = Wording(Pattern.parse("[X] [P] [Y]"), answer)
    return Task(name, wording, Splits(records, (), records), manual=manual)


def rte() -> Task:
    own = find_task("RTE")
    texts = {"premise": "It rains.", "hypothesis": "It is wet."}
    records = (Record("0", texts, "entailment"),)
    manual = {n: w for n, w in own.wordings().items() if n.startswith("manual")}
    return Task("RTE", own.wording(), Splits(records, (), records), manual=manual)


def file_of(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_the_papers_prompts_of_table_1_and_their_numbers(tmp_path: Path) -> None:
    found = list(of_relation(relation("P17"), "causal", tmp_path, "paper"))
    assert {p.text: p.paper for p in found if isinstance(p, StudyPrompt)} == {
        "[X] is located in [Y].": {"full": 31.29},
        "[X] is located in which country or state? [Y].": {"full": 19.78},
        "[X] is located in which country? [Y].": {"full": 31.40},
        "[X] is located in which country? In [Y].": {"full": 51.08},
    }
    assert papers_rows("P36") == []


def test_the_papers_patterns_of_table_6_are_those_of_the_task() -> None:
    found = of_task(rte(), "")
    numbers = {name: prompt.paper for name, prompt in found.items() if prompt.paper}
    assert numbers["manual_5"] == {"small": 53.12, "full": 57.16} and len(numbers) == 4
    texts = [found[name].text for name in sorted(numbers)]
    assert "Does {premise" in texts[0] and "Does {hypothesis|bare}" in texts[1]
    assert "Premise:" in texts[2] and "true or false?" in texts[3]
    assert papers_rows("CB") == []


def test_published_prompts_are_taken_where_they_are(tmp_path: Path) -> None:
    [own] = of_relation(relation("P36"), "causal", tmp_path, "")
    assert (own.text, own.source) == (OWN, "LAMA")
    mined = tmp_path / "prompts" / "lpaqa" / "mine" / "P17.jsonl"
    mined.parent.mkdir(parents=True)
    lines = [{"template": "[X] of [Y]", "weight": 0.1}, {"template": "[X] [Y]", "weight": 0.9}]
    mined.write_text("\n".join(map(json.dumps, lines)))
    found = list(of_relation(relation("P17"), "causal", tmp_path, ""))
    assert [p.source for p in found] == 4 * ["paper"] + ["LAMA"] + 2 * ["LPAQA mine"]
    assert [p.text for p in found[5:]] == ["[X] [Y]", "[X] of [Y]"]  # the heaviest first


def test_a_file_takes_the_place_of_all_others(tmp_path: Path) -> None:
    path = file_of(tmp_path, "[X] is in [Y].", "", '{"template": "[X] of [Y]", "weight": 1}', "[X]")
    *found, left_out = of_relation(relation("P17"), "causal", tmp_path, path)
    assert [(p.text, p.source) for p in found] == [
        ("[X] is in [Y].", "mine.txt:1"),
        ("[X] of [Y]", "mine.txt:3"),
    ]
    assert left_out == "write [X] and [Y] exactly once each"


def test_patterns_of_a_file_have_the_tasks_words_or_their_own(tmp_path: Path) -> None:
    words = {"entailment": "true", "not_entailment": "false"}
    own = {"pattern": "{premise...} {hypothesis} [Y]", "words": words}
    path = file_of(tmp_path, "{premise...} So {hypothesis|bare}? [Y]", json.dumps(own))
    task = rte()
    found = of_task(task, path)
    assert list(found)[-2:] == ["manual_mine_1", "manual_mine_2"]
    assert found["manual_mine_1"].wording.answer == task.wording.answer
    answer = found["manual_mine_2"].wording.answer
    assert isinstance(answer, Words) and answer.words == {k: (w,) for k, w in words.items()}
    assert [p.source for p in found.values()][-3:] == ["built in", "mine.txt", "mine.txt"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{premise...} no target", r"mine.txt:2: pattern .* has no targets"),
        ("{text} [Y]", "mine.txt:2: .* a record of RTE has no field 'text'"),
        ("{premise...} [P] [Y]", "mine.txt:2: .* has no prompt slots"),
        ('{"pattern": "{premise...} [Y]"', "mine.txt:2: bad record: not JSON"),
        ('{"text": "{premise...} [Y]"}', "mine.txt:2: bad record: 'pattern' is missing"),
        ('{"pattern": "{premise...} [Y]", "words": {"entailment": "Yes"}}', "mine.txt:2: 'words'"),
    ],
)
def test_a_bad_line_is_named(line: str, reason: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, "{premise...} {hypothesis|bare}? [Y]", line)
    with pytest.raises(UserError, match=reason):
        of_task(rte(), path)


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mine.txt holds no patterns"):
        of_task(rte(), file_of(tmp_path, "", ""))
    with pytest.raises(UserError, match="nowhere.txt: No such file"):
        list(of_relation(relation("P17"), "causal", tmp_path, str(tmp_path / "nowhere.txt")))


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_line_of_a_file_is_taken_or_refused_in_one_line(value: str, tmp_path: Path) -> None:
    for text in (f'{{"pattern": {value}}}', f'{{"pattern": "{{premise}} [Y]", "words": {value}}}'):
        try:
            of_task(rte(), file_of(tmp_path, text))
        except UserError as error:
            assert "mine.txt:1" in str(error) and "\n" not in str(error)
