"""Requests larger than a server takes at once: the same answers, from several requests."""

from dataclasses import replace

import pytest

from ptune_scale.parallel.remote.parts import in_parts
from ptune_scale.parallel.remote.request import Encoded, ModelRequest, decode
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.serve.texts import SentTexts
from ptune_scale.task.objective import cross_entropy
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


def test_a_question_that_is_too_large_by_itself_is_asked_as_it_is() -> None:
    request = ModelRequest("loss", rows(1, 8, group_size=4), prompts(), cross_entropy)
    parts = in_parts(request, replace(LIMITS, request_tokens=10))
    assert [len(part.batch) for part in parts] == [4, 4]
