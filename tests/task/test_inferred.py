"""What is inferred where nothing is said: the kind of answer, and what is held out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words
from ptune_scale.task.define import hold_out, infer_answer
from ptune_scale.task.record import Record


def _answered(*answers: str) -> list[Record]:
    return [Record(str(i), {"a": str(i)}, answer) for i, answer in enumerate(answers)]


def test_few_short_answers_that_come_again_are_labels() -> None:
    answer, said = infer_answer(_answered("bug", "bug", "feature request", "feature request"))
    assert answer == Words({"bug": ("bug",), "feature request": ("feature request",)})
    assert said == "answers are 2 labels, each its own word: bug, feature request"


@pytest.mark.parametrize(
    "answers",
    [
        ["Oslo", "Rome", "Paris"],
        ["bug"] * 5,
        ["a" * 41, "b"] * 5,
        [f"label {i % 51}" for i in range(200)],
    ],
)
def test_other_answers_are_texts(answers: list[str]) -> None:
    answer, said = infer_answer(_answered(*answers))
    assert isinstance(answer, Text) and answer.cut
    assert answer.max_tokens == max(8, max(map(len, answers)))
    assert said.startswith(f"answers are texts ({len(set(answers))} different ones)")


@given(
    texts=st.lists(st.integers(0, 30), min_size=1, max_size=80),
    share=st.floats(0.01, 0.9),
)
def test_records_of_the_same_texts_are_held_out_together(texts: list[int], share: float) -> None:
    records = [
        Record(str(i), {"text": str(text), "id": str(i)}, "x") for i, text in enumerate(texts)
    ]
    kept, held = hold_out(records, share, ["text"])
    assert not {r.fields["text"] for r in kept} & {r.fields["text"] for r in held}
    assert sorted([*kept, *held], key=lambda r: int(r.id)) == records
    assert [r.id for r in kept] == sorted((r.id for r in kept), key=int)
    assert len(held) >= max(1, round(len(records) * share))
    assert hold_out(records, share, ["text"]) == (kept, held)
    # The order of the file does not matter, and other columns do not either.
    again = hold_out(
        [Record(r.id, {**r.fields, "id": "z"}, "y") for r in records[::-1]], share, ["text"]
    )
    assert {r.fields["text"] for r in again[1]} == {r.fields["text"] for r in held}


def test_nothing_is_held_out_where_the_share_is_0() -> None:
    records = _answered("a", "b")
    assert hold_out(records, 0, ["a"]) == (records, [])
    kept, held = hold_out(_answered(*"abcdefghij"), 0.3, [])
    assert (len(kept), len(held)) == (7, 3)
