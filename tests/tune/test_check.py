"""Tasks from flags: the kinds of answers, and what is said of them."""

from pathlib import Path
from typing import Any

import pytest

from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words
from ptune_scale.tune.check import check
from ptune_scale.tune.config import OwnConfig


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            {"words": "north=Oslo, south=the city of Rome", "answer": "label"},
            Words({"north": ("Oslo",), "south": ("the city of Rome",)}),
        ),
        ({"choices": "one, other", "answer": "right"}, Choices(("one", "other"))),
        ({"candidates": "cities.txt", "answer": "city"}, Ranked({"candidates": ("Rome", "Oslo")})),
        ({"text_tokens": 5, "answer": "text"}, Text(5)),
        ({"answer": "city"}, Words({"Oslo": ("Oslo",), "Rome": ("Rome",)})),
    ],
)
def test_each_kind_of_answer_can_be_told_by_flags(
    flags: dict[str, Any], expected: Any, own, tiny_gpt2: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cities.txt").write_text("Rome\nOslo\n")
    directory = Path(own("where")[1]).parent
    files = {name: str(directory / f"{name}.jsonl") for name in ("train", "dev", "test")}
    told = {"pattern": "{where} [P] [Y]", "columns": "where=place", "max_length": 30}
    checked = check(OwnConfig.from_flags({**files, **told, **flags, "model": str(tiny_gpt2)}))
    [task] = checked.tasks
    assert (task.name, task.max_length, task.wording.answer) == ("train", 30, expected)
    assert [len(part) for part in (task.splits.train, task.splits.dev, task.splits.test)] == [
        24,
        8,
        12,
    ]
    assert dict(task.columns) == {"where": "place", "answer": flags["answer"]}
    assert checked.methods == ("majority", "manual", "ptuning")
