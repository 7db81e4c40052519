"""Words of one token ranked among candidates, against a plain sort."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.task.answers.phrases import BoundPhrases
from ptune_scale.task.answers.ranked import BoundRanked, Ranked, candidate_sets
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.fill import Filler
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record

CITIES = ("Oslo", "Rome", "Paris", "Berlin", "Madrid")
PARTS = ("Europe", "Asia", "Africa")
Sets = Mapping[str, tuple[str, ...] | None]


def _rows(*answers: str) -> list[dict[str, str]]:
    places = ["Norway", "a city", "Spain"]
    return [{"a": place, "answer": each} for place, each in zip(places, answers, strict=False)]


@pytest.mark.parametrize("model", ["llama", "bert"])
@pytest.mark.parametrize(
    "sets",
    [
        ({"mine": CITIES, "all": None}, {"mine": PARTS, "all": None}),
        ({"all": None, "mine": CITIES}, {"all": None, "mine": CITIES}),
        ({"mine": CITIES}, {"mine": None}),
    ],
    ids=["by task", "common", "all of one task"],
)
def test_ranks_and_the_best_candidate_are_those_of_a_sort(
    sets: tuple[Sets, Sets], model: str, task_of, ask, plainly, request: pytest.FixtureRequest
) -> None:
    backbone: Backbone = request.getfixturevalue(model)
    tokens = backbone.tokens
    answers = [["Rome", "Paris", "Oslo"], ["Asia", "Europe", "Asia"]]
    if sets[1].get("mine") == CITIES:
        answers[1] = ["Madrid", "Rome", "Rome"]
    made = [
        task_of("[P] {a} is in [P] [Y]", Ranked(each, one_token=True), *_rows(*right), name=name)
        for each, right, name in zip(sets, answers, ("first", "second"), strict=True)
    ]
    tasks, asker = ask(backbone, *made)
    assert all(isinstance(task.bound, BoundRanked) for task in tasks)
    questions = [question for task in tasks for question in task.test]
    for question, found in zip(questions, Panels(tasks).predict(asker, questions), strict=True):
        [row] = question.rows
        logs = plainly(backbone, asker.prompts, row.ids, row.slots, row.task)[row.targets[0]]
        allowed = {
            name: range(len(logs)) if words is None else tokens.word_tokens(words)
            for name, words in sets[question.task].items()
        }
        order = {name: sorted(ids, key=lambda i: -float(logs[i])) for name, ids in allowed.items()}
        right = tokens.word_token(question.record.answer)
        assert found.ranks == {name: 1 + ids.index(right) for name, ids in order.items()}
        first = next(iter(order))
        assert found.answer == tokens.text(order[first][0])
        among = logs[list(allowed[first])].softmax(0).max()
        assert found.score == pytest.approx(float(among), rel=1e-3)
    outcomes = tasks[1].outcomes(tasks[1].test, Panels(tasks).predict(asker, questions)[3:])
    assert all(1 <= outcome.rank <= len(logs) for outcome in outcomes)


def test_several_readings_of_one_pass_are_those_of_one_pass_each(
    bert: Backbone, task_of, ask, plainly
) -> None:
    sets = {"mine": CITIES, "all": None}
    made = task_of("{a} [P] [Y] .", Ranked(sets, one_token=True), *_rows("Rome", "Oslo"))
    [task], asker = ask(bert, made)
    [rome, oslo] = (bert.tokens.word_token(word) for word in ("Rome", "Oslo"))
    rows = [replace(q.rows[0], targets=(1, *q.rows[0].targets)) for q in task.test]
    rows = [replace(row, answers=(oslo, row.answers[0])) for row in rows]
    panel = type(task.bound).panel({0: task.bound})
    readings = [(0, "all"), (1, "mine"), (1, "all")]
    found = panel.ranked(asker, rows, readings)
    assert found == [panel.ranked(asker, rows, [reading])[0] for reading in readings]
    for (target, name), each in zip(readings, found, strict=True):
        for row, prediction in zip(rows, each, strict=True):
            logs = plainly(bert, asker.prompts, row.ids, row.slots)[row.targets[target]]
            ids = range(len(logs)) if name == "all" else bert.tokens.word_tokens(CITIES)
            best = max(ids, key=lambda i, logs=logs: float(logs[i]))
            assert prediction.answer == bert.tokens.text(best)
            right = float(logs[row.answers[target]])
            assert prediction.ranks["all"] == 1 + sum(float(each) > right for each in logs)
    assert rome in {row.answers[1] for row in rows}


def test_which_candidates_a_set_has_depends_on_the_task(llama: Backbone) -> None:
    sets = candidate_sets(
        {0: Ranked({"mine": CITIES}), 2: Ranked({"mine": PARTS}), 3: Ranked({"mine": None})},
        Filler(Pattern.parse("{a} [Y]"), llama.tokens, whose="a task"),
    )
    for task, words in ((0, CITIES), (1, ()), (2, PARTS)):
        assert sets.tokens("mine", task).tolist() == llama.tokens.word_tokens(words)
    assert len(sets.tokens("mine", 3)) == llama.tokens.vocab_size


def test_phrases_are_told_from_words_by_their_tokens(llama: Backbone, task_of) -> None:
    for words, kind in ((CITIES, BoundRanked), ((*CITIES, "the city of Rome"), BoundPhrases)):
        task = AskedTask(task_of("{a} [Y]", Ranked({"mine": words})), llama.tokens, 0)
        assert type(task.bound) is kind


def test_an_unknown_answer_has_no_rank(llama: Backbone, task_of, ask) -> None:
    [task], asker = ask(llama, task_of("{a} [Y]", Ranked({"mine": CITIES}), *_rows("Rome")))
    questions = task.questions([Record("0", {"a": "Norway"}, None)], "evaluate")
    [found] = Panels([task]).predict(asker, questions)
    assert found.ranks is None and found.answer in CITIES


@pytest.mark.parametrize("sets", [{}, {"mine": ()}, {"mine": CITIES, "more": ()}])
def test_an_empty_list_of_candidates_is_refused(sets: Sets) -> None:
    with pytest.raises(UserError, match="candidates: the list is empty"):
        Ranked(sets)


def test_an_answer_that_is_no_candidate_is_named_by_file_and_line() -> None:
    ranked, record = Ranked({"mine": CITIES}), Record("0", {}, "Bern", source="a.jsonl:9")
    with pytest.raises(UserError, match="a.jsonl:9: the answer 'Bern' is none of the 5 candidates"):
        ranked.check(record)
    Ranked({"all": None}).check(record)


def test_an_answer_of_several_tokens_is_refused_where_one_is_asked_for(
    llama: Backbone, task_of
) -> None:
    made = task_of("{a} [Y]", Ranked({"all": None}, one_token=True), *_rows("the city of Rome"))
    with pytest.raises(UserError, match="cb: the answer 'the city of Rome' is not one token"):
        AskedTask(made, llama.tokens, 0).learn  # noqa: B018
