"""Requests larger than a server takes at once: the same answers, from several requests."""

from dataclasses import replace

import pytest
import torch

from ptune_scale.parallel.remote.parts import in_parts
from ptune_scale.parallel.remote.request import Encoded, ModelRequest, decode
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.serve.texts import SentTexts
from ptune_scale.task.asked import AnswerLogProbabilities, Ranks
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_SLOT, Example, collate
from ptune_scale.task.objective import cross_entropy, mean_cross_entropy
from tests.serve.conftest import HIDDEN, WORDS, everything, prompts, rows

LIMITS = Limits(WORDS, WORDS, HIDDEN, 64, True, 10**6, 1 << 26, 10**6, 10**6, 9)


def test_a_request_within_the_limits_is_left_whole() -> None:
    for request in everything(WORDS):
        assert in_parts(request, LIMITS) == [request]


@pytest.mark.parametrize(
    "fewer",
    [{"request_tokens": 120}, {"request_bytes": 18_500}, {"values": 30}],
    ids=lambda fewer: next(iter(fewer)),
)
def test_parts_are_within_the_limits_and_are_the_request_together(fewer: dict) -> None:
    limits = replace(LIMITS, **fewer)
    counts = []
    for request in everything(WORDS):
        parts = in_parts(request, limits)
        counts.append(len(parts))
        for part in parts:
            assert len(part.batch) % request.batch.group_size == 0
            body = Encoded(part, "model").body()
            assert len(body) <= limits.request_bytes
            decode(body, "model", limits, SentTexts(1).of(""))
        joined = [row for part in parts for row in part.batch.examples]
        assert [(row.ids, row.task) for row in joined] == [
            (row.ids, row.task) for row in request.batch.examples
        ]
    assert max(counts) > 1


def test_a_short_row_of_a_batch_with_longer_answers_can_be_sent_in_another_part() -> None:
    short = Example(0, (1, 0), (NO_SLOT, 0), (1,), (5,))
    slots, places = (NO_SLOT, 0, *[NO_SLOT] * 20), tuple(range(1, 21))
    long = Example(0, (1, 0, *range(20)), slots, places, (3,) * 20)
    for asked, kind in ((mean_cross_entropy, "loss"), (AnswerLogProbabilities(), "ask")):
        request = ModelRequest(kind, collate([short, long]), prompts(), asked)
        parts = in_parts(request, replace(LIMITS, request_tokens=23))
        assert [len(part.batch) for part in parts] == [1, 1]
        for part in parts:
            body = Encoded(part, "model").body()
            found = decode(body, "model", LIMITS, SentTexts(1).of(""))
            assert found.batch.num_targets == 20


def test_of_what_is_asked_a_part_has_that_of_its_own_tasks() -> None:
    rows_of_tasks = [Example(task, (1, 0), (NO_SLOT, 0), (1,), (5,)) for task in range(20)]
    own = Ranks(Candidates(8000, {}, {"own": [[5]] * 20}))  # 1,000 bytes a task
    request = ModelRequest("ask", collate(rows_of_tasks), torch.zeros(20, 1, 4), own)
    limits = replace(LIMITS, request_bytes=(1 << 14) + 11_500)
    parts = in_parts(request, limits)
    assert [len(part.batch) for part in parts] == [10, 10]
    assert all(len(Encoded(part, "model").body()) <= limits.request_bytes for part in parts)


def test_a_question_that_is_too_large_by_itself_is_asked_as_it_is() -> None:
    request = ModelRequest("loss", rows(1, 8, group_size=4), prompts(), cross_entropy)
    parts = in_parts(request, replace(LIMITS, request_tokens=10))
    assert [len(part.batch) for part in parts] == [4, 4]
