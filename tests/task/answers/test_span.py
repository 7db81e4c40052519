"""Spans that a model is to write, by masks or by going on."""

import pytest

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.task.answers.span import Span, refers
from ptune_scale.task.asking import Panels
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording

ROWS = [
    {"a": "Rome is a city and", "span": "Rome", "answer": "True"},
    {"a": "Oslo is near", "span": "the capital of Norway", "answer": "False"},
    {"a": "Dante was born in", "span": "a city of Italy", "answer": "True"},
]
PATTERN = "{a} [P]*2 [Y] ."


def test_a_causal_model_goes_on_by_as_many_tokens_as_the_span_has(
    llama: Backbone, task_of, ask, plainly
) -> None:
    [task], asker = ask(llama, task_of(PATTERN, Span("span"), *ROWS))
    lengths = set()
    for question, found in zip(task.test, Panels([task]).predict(asker, task.test), strict=True):
        [row] = question.rows
        count = len(task.filler.spell(question.record.fields["span"]))
        lengths.add(count)
        written: list[int] = []
        while len(written) < count:
            slots = (*row.slots, *[-1] * len(written))
            logs = plainly(llama, asker.prompts, (*row.ids, *written), slots)
            written.append(int(logs[-1].argmax()))
        padding = llama.tokens.placeholder
        text = llama.tokens.tokenizer.decode([each for each in written if each != padding])
        assert found.text == text
        assert found.answer == str(refers(text, question.record.fields["span"]))
    assert len(lengths) > 1


def test_a_masked_model_writes_its_surest_token_first(
    bert: Backbone, task_of, ask, plainly
) -> None:
    [task], asker = ask(bert, task_of(PATTERN, Span("span"), *ROWS))
    for question, found in zip(task.test, Panels([task]).predict(asker, task.test), strict=True):
        [row] = question.rows
        assert len(row.targets) == 1 + len(task.filler.spell(question.record.fields["span"]))
        ids, left = list(row.ids), set(row.targets)
        while left:
            logs = plainly(bert, asker.prompts, ids, row.slots)
            surest = max(sorted(left), key=lambda place, logs=logs: float(logs[place].max()))
            ids[surest] = int(logs[surest].argmax())
            left.remove(surest)
        written = [ids[place] for place in row.targets if ids[place] != bert.tokens.placeholder]
        assert found.text == bert.tokens.tokenizer.decode(written)


def test_spare_masks_are_0_to_3_to_train_and_1_to_evaluate_and_mean_padding(
    bert: Backbone, task_of, ask
) -> None:
    [task], _ = ask(bert, task_of(PATTERN, Span("span"), *ROWS[:1] * 40))
    rows = [question.rows[0] for question in task.learn]
    assert {len(row.targets) - 1 for row in rows} == {0, 1, 2, 3}
    assert rows == [q.rows[0] for q in task.questions(task.task.splits.train, "train")]
    rome, padding = bert.tokens.word_token("Rome"), bert.tokens.placeholder
    assert task.test[0].rows[0].answers == (rome, padding)


def test_a_causal_model_is_not_shown_the_span_that_it_has_to_find(
    llama: Backbone, task_of, ask
) -> None:
    [task], _ = ask(llama, task_of("{a} [P] [Y]", Span("span"), *ROWS))
    for train, evaluate in zip(task.learn, task.test, strict=True):
        spelled = tuple(task.filler.spell(train.record.fields["span"]))
        assert train.rows[0].answers == spelled
        [row] = evaluate.rows
        assert row.ids == train.rows[0].ids[: len(row.ids)] and row.slots[-1] == 0
        assert row.targets == (len(row.ids) - 1,)


@pytest.mark.parametrize(
    ("decoded", "found"),
    [
        ("tom", True),
        ("Tom Smith .", True),
        ("the Tom Smith", True),
        ("he", False),
        ("Tom and", False),
    ],
)
def test_a_text_counts_if_it_contains_or_is_contained(decoded: str, found: bool) -> None:
    assert refers(decoded, "Tom Smith") is found


def test_an_empty_text_counts_only_as_in_the_reference(bert: Backbone, ask) -> None:
    assert not refers(" . ", "Tom Smith")
    assert refers(" . ", "Tom Smith", empty_refers=True)
    record = Record("0", {"a": "Rome", "span": "Oslo"}, "True")
    wording = Wording(Pattern.reference("{a}|[P]|[Y]."), Span("span"))
    [task], _ = ask(bert, Task("wsc", wording, Splits((record,), (), (record,))))
    panel = type(task.bound).panel({0: task.bound})
    assert panel._prediction(task.test[0], [bert.tokens.placeholder]).answer == "True"


def test_labels_are_called_as_the_task_says() -> None:
    span = Span("span", no="0", yes="1")
    span.check(Record("0", {"span": "Rome"}, "1"))
    with pytest.raises(UserError, match="a:3: the answer 'True' is neither '0' nor '1'"):
        span.check(Record("0", {"span": "Rome"}, "True", source="a:3"))


@pytest.mark.parametrize("fields", [{}, {"span": ""}])
def test_a_record_without_the_phrase_is_named_by_file_and_line(
    fields: dict[str, str], task_of, ask, llama: Backbone
) -> None:
    record = Record("0", {"a": "Rome", **fields}, "True", source="a:3")
    [task], _ = ask(llama, task_of(PATTERN, Span("span"), *ROWS))
    for refuse in (Span("span").check, lambda each: task.questions([each], "evaluate")):
        with pytest.raises(UserError, match="a:3: the phrase 'span' is empty or missing"):
            refuse(record)
