"""Kinds of answers as the tables of task files and exports."""

import json
import tomllib
from typing import Any

import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.answers.data import as_data, from_data
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.span import Span
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words

ALL = [
    Words({"north": ("Oslo",), "south": ("Rome", "Madrid")}, calibrate=True),
    Choices(("first", "second|lower"), ("bad", "good")),
    Ranked({"mine": ("Oslo", "Rome"), "all": None}, one_token=True),
    Text(7, ("\n", "."), cut=True),
    Span("phrase", "0", "1"),
]


@pytest.mark.parametrize("answer", ALL, ids=lambda answer: answer.kind)
def test_an_answer_comes_back_from_its_table(answer: Answer) -> None:
    assert from_data(json.loads(json.dumps(as_data(answer))), "x") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('words = { a = "x", b = ["y", "z"] }', Words({"a": ("x",), "b": ("y", "z")})),
        (
            "words = { 1 = 'x', 0 = 'y' }\ncalibrate = true",
            Words({"1": ("x",), "0": ("y",)}, calibrate=True),
        ),
        ('choices = ["a", "b"]', Choices(("a", "b"))),
        ('choices = ["a", "b"]\nnames = ["0", "1"]', Choices(("a", "b"), ("0", "1"))),
        ('candidates = ["x", "y z"]', Ranked({"candidates": ("x", "y z")})),
        ("text = {}", Text()),
        ('text = { max_tokens = 16, stop = ["\\n"] }', Text(16, ("\n",))),
        ("text = { max_tokens = 16, stop = '.', cut = true }", Text(16, (".",), True)),
        ("text = { max_tokens = 16 }\ncut = true", Text(16, cut=True)),
        ('span = "phrase"', Span("phrase")),
    ],
)
def test_tables_of_task_files(text: str, answer: Answer) -> None:
    assert from_data(tomllib.loads(text), "x") == answer


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "needs one of words, choices, candidates, text, span; it has nothing"),
        ({"word": {"a": "x"}}, "needs one of .*; it has word"),
        ({"words": {"a": "x", "b": "y"}, "text": {}}, "needs one of .*; it has words, text"),
        ({"words": ["a", "b"]}, "words is not as it should be"),
        ({"words": {"a": 1, "b": "y"}}, "words is not as it should be"),
        ({"words": {"a": ["x", 2], "b": "y"}}, "words is not as it should be .a list of texts"),
        ({"words": {"a": "x"}}, "two or more are needed"),
        ({"words": {"a": "x", "b": ""}}, "label b has no word"),
        ({"words": {"a": "x", "b": "y"}, "calibrate": "yes"}, "calibrate is 'yes'"),
        ({"words": {"a": "x", "b": "y"}, "stop": "."}, "no setting stop; there are"),
        ({"choices": "first"}, "a list of texts is needed"),
        ({"choices": ["a", "b"], "names": "x"}, "a list of texts is needed"),
        ({"choices": ["a", "b"], "names": ["x"]}, "names ..x.. should be as many"),
        ({"choices": ["a"]}, "two or more different fields"),
        ({"candidates": []}, "the list is empty"),
        ({"candidates": {"mine": [1]}}, "a list of texts is needed"),
        ({"candidates": 7}, "candidates is not as it should be"),
        ({"candidates": ["x"], "one_token": 1}, "one_token is 1"),
        ({"text": 16}, "text is not as it should be"),
        ({"text": {"max_tokens": "16"}}, "max_tokens is '16'"),
        ({"text": {"max_tokens": True}}, "max_tokens is True"),
        ({"text": {"max_tokens": 0}}, "max_tokens must be 1 or more"),
        ({"text": {"tokens": 16}}, "no setting tokens; there are max_tokens, stop, cut"),
        ({"text": {"stop": [1]}}, "a list of texts is needed"),
        ({"span": ["phrase"]}, "a list of texts is needed"),
        ({"span": "phrase", "yes": 1}, "yes is 1"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_in_one_line(
    table: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        from_data(table, "task file a.toml")
    assert "\n" not in str(refusal.value)
