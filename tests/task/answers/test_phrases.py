"""Phrases of several tokens: the search against reading every candidate."""

import math
from random import Random

import pytest

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.record import Record

WORDS = ["Oslo", "Rome", "Paris", "of", "the", "city", "near", "Madrid", "Europe", "a"]
PHRASES = tuple(
    {" ".join(Random(n).choices(WORDS, k=1 + n % 4)): None for n in range(60)}
    # Some begin as others do, or are others' beginnings.
    | dict.fromkeys(["the", "the city", "the city of Rome", "the city of Paris", "theatre"])
)
RANKED = Ranked({"phrases": PHRASES})
ROWS = [
    {"a": place, "answer": PHRASES[7 * i]}
    for i, place in enumerate(["Norway", "a city of France", "Spain", "Italy near Rome"])
]
PATTERN = "[P] {a} is [P] [Y]"


def _all_scores(task: AskedTask, backbone: Backbone, prompts, plainly, record) -> dict[str, float]:
    """Log-probability of each candidate's tokens and its end token."""
    scores = {}
    for phrase in PHRASES:
        answer = [*task.filler.spell(phrase), backbone.tokens.end_token]
        parts, _ = task.filler.fill(record, target_room=len(answer) - 1)
        row = task.filler.join(parts, answer)
        logs = plainly(backbone, prompts, row.ids, row.slots)
        pairs = zip(row.targets, answer, strict=True)
        scores[phrase] = sum(float(logs[target, token]) for target, token in pairs)
    return scores


def test_the_search_finds_what_reading_every_candidate_finds(
    llama: Backbone, task_of, ask, plainly
) -> None:
    [task], asker = ask(llama, task_of(PATTERN, RANKED, *ROWS))
    rows = 0

    def count(done: int) -> None:
        nonlocal rows
        rows += done

    asker.after_batch = count
    for question, found in zip(task.test, Panels([task]).predict(asker, task.test), strict=True):
        record = question.record
        scores = _all_scores(task, llama, asker.prompts, plainly, record)
        order = sorted(scores, key=scores.__getitem__, reverse=True)
        assert found.answer == order[0]
        assert found.score == pytest.approx(math.exp(scores[order[0]]), rel=1e-3)
        rank = 1 + order.index(record.answer)
        # One that is not among the best ten counts as the last.
        assert found.ranks == {"phrases": rank if rank <= 10 else len(PHRASES) + 1}
    # Only beginnings that could win were asked about.
    assert rows < len(ROWS) * len(PHRASES)


def test_the_right_answer_is_found_wherever_it_is_among_the_first_ten(
    llama: Backbone, task_of, ask, plainly
) -> None:
    [task], asker = ask(llama, task_of(PATTERN, RANKED, *ROWS))
    record = task.task.splits.test[1]
    scores = _all_scores(task, llama, asker.prompts, plainly, record)
    order = sorted(scores, key=scores.__getitem__, reverse=True)
    records = [Record(str(i), record.fields, phrase) for i, phrase in enumerate(order[:11])]
    questions = task.questions(records, "evaluate")
    ranks = [found.ranks["phrases"] for found in Panels([task]).predict(asker, questions)]
    assert ranks == [*range(1, 11), len(PHRASES) + 1]


def test_an_unknown_answer_needs_the_best_alone(llama: Backbone, task_of, ask) -> None:
    [task], asker = ask(llama, task_of(PATTERN, RANKED, *ROWS))
    records = [Record("0", row, None) for row in ROWS]
    unknown = Panels([task]).predict(asker, task.questions(records, "evaluate"))
    known = Panels([task]).predict(asker, task.test)
    assert [each.answer for each in unknown] == [each.answer for each in known]
    assert all(each.ranks is None for each in unknown)


def test_a_phrase_is_trained_to_its_end_token(llama: Backbone, task_of, ask) -> None:
    [task], _ = ask(llama, task_of(PATTERN, RANKED, *ROWS))
    for question in task.learn:
        [row] = question.rows
        spelled = task.filler.spell(question.record.answer)
        assert row.answers == (*spelled, llama.tokens.end_token)
        assert [row.ids[t + 1] for t in row.targets[:-1]] == spelled


def test_room_is_kept_for_the_longest_candidate(llama: Backbone, task_of, ask) -> None:
    rows = [{"a": "Rome " * 40, "answer": "the"}]
    [task], asker = ask(llama, task_of("{a...} [P] [Y]", RANKED, *rows, max_length=24))
    longest = max(len(task.filler.spell(phrase)) for phrase in PHRASES)
    assert task.test[0].num_tokens + longest == 24
    assert Panels([task]).predict(asker, task.test)[0].answer in PHRASES


def test_the_whole_vocabulary_is_no_list_of_phrases(llama: Backbone, task_of) -> None:
    made = task_of("{a} [Y]", Ranked({"first": ("the city",), "all": None}))
    assert AskedTask(made, llama.tokens, 0).bound.key == ("phrases", "first")
    made = task_of("{a} [Y]", Ranked({"all": None, "second": ("the city",)}))
    with pytest.raises(UserError, match="phrases are ranked among candidates; give a list"):
        AskedTask(made, llama.tokens, 0)
