"""Choices: texts of the record itself, however the right one is named."""

from collections.abc import Sequence

import pytest
import torch

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.asking import Panels
from ptune_scale.task.example import NO_ANSWER
from ptune_scale.task.record import Record

THREE = {"first": "Oslo", "second": "a city of Italy", "third": "near Madrid."}
ROWS = [{"a": "Norway is", "answer": "0"}, {"a": "Rome", "answer": "2"}]


@pytest.mark.parametrize("fields", [("first", "second"), ("third", "first", "second")])
def test_a_causal_choice_is_scored_by_the_sum_of_its_tokens(
    fields: Sequence[str], llama: Backbone, task_of, ask, plainly
) -> None:
    rows = [{**row, **THREE, "answer": "0"} for row in ROWS]
    [task], asker = ask(llama, task_of("[P] {a} [P] [Y]", Choices(tuple(fields)), *rows))
    for question, found in zip(task.test, Panels([task]).predict(asker, task.test), strict=True):
        assert [row.answers for row in question.rows] == [
            tuple(task.filler.spell(THREE[field])) for field in fields
        ]
        logs = [plainly(llama, asker.prompts, row.ids, row.slots) for row in question.rows]
        sums = [
            sum(float(each[t, a]) for t, a in zip(row.targets, row.answers, strict=True))
            for row, each in zip(question.rows, logs, strict=True)
        ]
        expected = torch.tensor(sums, dtype=torch.float64).softmax(0).tolist()
        assert list(found.scores) == list(fields)
        assert list(found.scores.values()) == pytest.approx(expected, rel=1e-3)
        assert found.answer == fields[sums.index(max(sums))]


def test_masks_are_as_many_as_the_longest_to_train_and_each_its_own_to_evaluate(
    bert: Backbone, task_of, ask
) -> None:
    task = task_of("{a} [P] [Y] .", Choices(("first", "second")), {**ROWS[0], **THREE})
    [asked], _ = ask(bert, task)
    [train], [evaluate] = asked.learn, asked.test
    mask = bert.tokens.mask_token
    assert [row.ids.count(mask) for row in train.rows] == [4, 4]
    assert train.rows[0].ids == train.rows[1].ids
    assert [[a != NO_ANSWER for a in row.answers] for row in train.rows] == [
        [True, False, False, False],
        [True] * 4,
    ]
    assert [row.ids.count(mask) for row in evaluate.rows] == [1, 4]
    assert [len(row.targets) for row in evaluate.rows] == [1, 4]


def test_choices_are_cut_alike_and_the_longest_fits(
    bert: Backbone, llama: Backbone, task_of, ask
) -> None:
    rows = [{"a": "the city is near Rome", "answer": "0", **THREE}]
    for backbone in (bert, llama):
        made = task_of("{a...} [P] [Y]", Choices(("first", "second", "third")), *rows)
        [whole], _ = ask(backbone, made)
        length = whole.test[0].num_tokens
        shorter = task_of("{a...} [P] [Y]", made.wording.answer, *rows, max_length=length - 2)
        [asked], _ = ask(backbone, shorter)
        [question] = asked.test
        assert (question.num_tokens, question.cut) == (length - 2, 2)
        assert [len(row.ids) for row in question.rows] == [
            len(row.ids) - 2 for row in whole.test[0].rows
        ]


@pytest.mark.parametrize("answer", ["1", "good", "second", " second ", "a city of Italy"])
def test_the_right_one_is_named_by_place_name_field_or_text(answer: str) -> None:
    choices = Choices(("first", "second|lower", "third"), ("bad", "good", "ugly"))
    record = Record("0", THREE, answer)
    assert choices.place(record) == 1 and choices.expected(record) == "good"
    choices.check(record)


@pytest.mark.parametrize("answer", ["3", "-1", "fourth", "", None, "a city of Italy."])
def test_an_answer_that_is_no_choice_is_named_by_file_and_line(answer: str | None) -> None:
    record = Record("0", THREE, answer, source="a.csv:4")
    with pytest.raises(UserError, match=r"a.csv:4: the answer .* is no choice; give a number from"):
        Choices(("first", "second", "third")).check(record)


@pytest.mark.parametrize("fields", [{"first": "Oslo"}, {"first": "Oslo", "second": " "}])
def test_a_choice_that_is_empty_is_refused(fields: dict[str, str]) -> None:
    record, choices = Record("0", fields, "0", source="a.csv:4"), Choices(("first", "second"))
    for refuse in (choices.check, choices.texts):
        with pytest.raises(UserError, match="a.csv:4: choice second is empty or missing"):
            refuse(record)


@pytest.mark.parametrize("fields", [(), ("first",), ("first", "first")])
def test_two_different_fields_are_needed(fields: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="name two or more different fields"):
        Choices(fields)


def test_filters_change_what_is_read(llama: Backbone, task_of, ask) -> None:
    choices = Choices(("first|lower", "third|bare"))
    [task], _ = ask(llama, task_of("{a} [Y]", choices, {"a": "It is", "answer": "0", **THREE}))
    texts = [llama.tokens.tokenizer.decode(row.answers) for row in task.test[0].rows]
    assert texts == [" oslo", " near Madrid"]
    assert choices.names == ("first", "third")


def test_without_an_answer_nothing_is_right(llama: Backbone, task_of, ask) -> None:
    [task], asker = ask(
        llama, task_of("{a} [Y]", Choices(("first", "second")), {**ROWS[0], **THREE})
    )
    record = Record("0", {"a": "Rome is", **THREE}, None)
    questions = task.questions([record], "evaluate")
    assert {row.label for row in questions[0].rows} == {NO_ANSWER}
    [found] = Panels([task]).predict(asker, questions)
    assert found.answer in ("first", "second")
