"""Rows of any shape as records."""

from typing import Any

import pytest

from ptune_scale.errors import UserError
from ptune_scale.task.columns import Columns
from ptune_scale.task.files import RawRow
from ptune_scale.task.record import Record


def _record(values: dict[str, Any], columns: Columns | None = None, **asked: Any) -> Record:
    return (columns or Columns()).record(RawRow(values, "a.jsonl:7"), 3, **asked)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"text": "a", "label": "yes"}, "yes"),
        ({"text": "a", "label": 0}, "0"),
        ({"text": "a", "label": False}, "false"),
        ({"input": "a", "output": " b\n"}, "b"),
        ({"prompt": "a", "completion": "b"}, "b"),
        ({"messages": [{"role": "user", "content": "a"}]}, None),
        ({"text": "a"}, None),
        ({"text": "a", "label": None}, None),
        ({"text": "a", "label": " "}, None),
    ],
)
def test_the_shapes_that_people_have_need_no_map(
    values: dict[str, Any], answer: str | None
) -> None:
    assert _record(values).answer == answer


def test_fields_keep_their_names_and_get_those_of_the_map() -> None:
    columns = Columns.parse(
        {"text": "body", "options": "deep.choices", "answer": "kind", "id": "no", "task": "which"}
    )
    row = {"body": "a", "deep": {"choices": ["x", "y"]}, "kind": "b", "no": 9, "which": "t"}
    record = _record(row, columns, needed=("text", "options.1", "kind"))
    assert (record.id, record.answer, record.task, record.source) == ("9", "b", "t", "a.jsonl:7")
    assert record.fields == {
        **{"body": "a", "deep.choices.0": "x", "deep.choices.1": "y", "kind": "b", "no": "9"},
        **{"which": "t", "text": "a", "options.0": "x", "options.1": "y"},
    }


def test_names_may_change_places() -> None:
    columns = Columns({"a": "b", "b": "a"})
    assert _record({"a": "1", "b": "2"}, columns).fields == {"a": "2", "b": "1"}


def test_a_name_never_means_another_column_that_is_called_so() -> None:
    with pytest.raises(UserError, match="no field 'body'; it has label"):
        _record({"text": "a", "label": "b"}, Columns({"text": "body"}), needed=["text"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"id": "x1", "idx": 5}, "x1"),
        ({"idx": 5}, "5"),
        ({"idx": {"passage": 1, "question": 2}}, "3"),
        ({"id": None}, "3"),
        ({}, "3"),
    ],
)
def test_an_id_is_the_files_or_the_number_of_the_row(values: dict[str, Any], expected: str) -> None:
    assert _record(values).id == expected


def test_rows_of_several_tasks_say_which() -> None:
    assert _record({"taskname": "squad", "context": "c"}).task == "squad"
    assert _record({"context": "c"}).task == ""


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        (Columns(), {"needed": ["body"]}, "no field 'body'; it has text, label"),
        (Columns({"body": "Body"}), {"needed": ["body"]}, "no field 'Body'; it has text"),
        (Columns(id="key"), {}, "no field 'key'"),
        (Columns(task="which"), {}, "no field 'which'"),
        (Columns(), {"needed": ["gone"]}, "no field 'gone'"),
    ],
)
def test_a_field_that_is_not_there_is_named_with_those_that_are(
    columns: Columns, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^a.jsonl:7: {message}"):
        _record({"text": "a", "label": "b", "gone": None}, columns, **asked)


def test_a_row_of_a_thousand_fields_is_not_listed_whole() -> None:
    with pytest.raises(UserError) as refusal:
        _record({"embedding": [0.5] * 1000}, needed=["text"])
    assert len(str(refusal.value)) < 800


def test_a_row_with_two_fields_of_one_name_is_refused() -> None:
    with pytest.raises(UserError, match="a.jsonl:7: bad record: two fields are called 'a.b'"):
        _record({"a": {"b": 1}, "a.b": 2})


@pytest.mark.parametrize("value", [1, "", None, ["a"], {"a": "b"}])
def test_a_map_to_what_is_no_column_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="columns: text = .* is not the name of a column"):
        Columns.parse({"text": value})


TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": [{"type": "text", "text": "Capital of "}, "Norway?"]},
    {"role": "assistant", "content": "Oslo"},
]


@pytest.mark.parametrize(
    ("columns", "name"),
    [(Columns(), "messages"), (Columns({"messages": "conversation"}), "conversation")],
)
def test_a_conversation_gives_its_turns_and_the_last_answer(columns: Columns, name: str) -> None:
    record = _record({name: TURNS}, columns, needed=("user", "assistant"))
    found = {key: record.fields[key] for key in ("system", "user", "history")}
    assert found == {
        "system": "Be brief.",
        "user": "Capital of Norway?",
        "history": "user: Hello\nassistant: Hi",
    }
    assert record.answer == "Oslo"


def test_a_question_without_an_answer_is_one_to_predict() -> None:
    record = _record({"messages": TURNS[:-1]})
    assert (record.fields["user"], record.answer) == ("Capital of Norway?", None)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "assistant", "content": "Oslo"}], "no message of role 'user'"),
        ([], "no message of role 'user'"),
        ([{"role": "user", "content": {"a": 1}}], r"'messages\.0\.content' is not a text"),
        ([{"role": "user", "content": [{"image": "x"}]}], r"'messages\.0\.content'"),
    ],
)
def test_a_conversation_that_asks_nothing_is_refused(
    messages: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=f"a.jsonl:7: bad record: {message}"):
        _record({"messages": messages})


def test_messages_that_are_no_conversation_are_texts() -> None:
    assert _record({"messages": ["a", "b"]}).fields == {"messages.0": "a", "messages.1": "b"}
