"""Texts by name: a request that names them is the one that tells them, and is checked as that."""

from dataclasses import replace

import pytest
import torch

from ptune_scale.parallel.remote.message import Malformed, pack, unpack
from ptune_scale.parallel.remote.request import Encoded, ModelRequest, decode
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.parallel.remote.texts import Forgotten, Told
from ptune_scale.serve.texts import SentTexts
from ptune_scale.task.example import NO_SLOT, Example, collate
from ptune_scale.task.objective import cross_entropy
from tests.serve.conftest import HIDDEN, WORDS, prompts, rows, text_rows

LIMITS = Limits(WORDS, WORDS, HIDDEN, 64, True, 1000, 1 << 20, 1000, 1000, 9)
REQUEST = ModelRequest("loss", text_rows(1, 9), prompts(), cross_entropy)
ENCODED = Encoded(REQUEST, "model")
NAMED = ENCODED.body(ENCODED.texts)


def kept(most_bytes: int = 1 << 20) -> SentTexts:
    """What a server keeps that was told the texts of the request."""
    texts = SentTexts(most_bytes)
    decode(ENCODED.body(), "model", LIMITS, texts.of("alice"))
    return texts


def read(body: bytes, texts: SentTexts, limits: Limits = LIMITS) -> ModelRequest:
    return decode(body, "model", limits, texts.of("alice"))


def changed(body: bytes, **more: torch.Tensor) -> bytes:
    header, tensors = unpack(body)
    header.pop("version")
    return pack(header, tensors | more)


def test_a_request_that_names_its_texts_is_read_as_the_one_that_tells_them() -> None:
    told = read(ENCODED.body(), SentTexts(1 << 20))
    assert told.batch.examples == tuple(
        replace(row, task=(0, 2, 3).index(row.task)) for row in REQUEST.batch.examples
    )
    assert read(NAMED, kept()).batch == told.batch
    for some in (ENCODED.texts[:1], ENCODED.texts[1:]):
        assert read(ENCODED.body(some), kept()).batch == told.batch


def test_each_text_is_told_once_and_a_name_is_shorter() -> None:
    _, tensors = unpack(ENCODED.body())
    assert tensors["text_lengths"].tolist() == [20, 21, 22]
    assert len(tensors["ids"]) == sum(row.num_tokens - 20 - n % 3 for n, row in enumerate(ROWS))
    assert len(NAMED) < len(ENCODED.body())
    assert not unpack(NAMED)[1]["text_ids"].numel()


ROWS = REQUEST.batch.examples


def test_rows_without_a_long_text_and_without_slots_are_sent_whole() -> None:
    plain = Example(0, (5,) * 30, (NO_SLOT,) * 30, (29,), (1,))  # asked once
    batch = collate([*rows(1, 4).examples, plain])
    encoded = Encoded(ModelRequest("loss", batch, prompts(), cross_entropy), "model")
    assert encoded.texts == []
    assert len(read(encoded.body(), SentTexts(1)).batch) == 5


def test_what_was_not_told_or_is_forgotten_is_asked_for() -> None:
    for texts in (SentTexts(1 << 20), kept(most_bytes=1)):
        with pytest.raises(Forgotten, match="3 of 3 texts that are named are not known here"):
            read(NAMED, texts)


def test_nobody_can_name_what_another_has_sent() -> None:
    with pytest.raises(Forgotten):
        decode(NAMED, "model", LIMITS, kept().of("bob"))


def test_a_request_that_is_refused_leaves_no_text() -> None:
    texts = SentTexts(1 << 20)
    for wrong in ({"prompts": torch.full((3, 3, HIDDEN), torch.nan)}, {"labels": torch.ones(9)}):
        with pytest.raises(Malformed):
            read(changed(ENCODED.body(), **wrong), texts)
    assert texts.held == 0


@pytest.mark.parametrize(
    "more, message",
    [
        ({"names": torch.zeros(3, 31).byte()}, "names must be 32 bytes each"),
        ({"names": torch.zeros(10, 32).byte()}, "texts no more than rows"),
        ({"names": torch.zeros(3, 32)}, "'names' must be torch.uint8"),
        ({"texts": torch.full((9,), 3).int()}, "texts must be from -1 to 2"),
        ({"texts": torch.full((9,), -2).int()}, "texts must be from -1 to 2"),
        ({"texts": torch.zeros(9).int()}, "each text must stand before a row"),
        ({"texts": torch.zeros(8).int()}, "texts must be 9 numbers; got 8"),
        ({"text_lengths": torch.full((7,), 1).int()}, "texts no more than rows"),
        ({"text_lengths": torch.full((1,), 65).int()}, "text_lengths must be from 1 to 64"),
        ({"text_lengths": torch.ones(1).int()}, "text_ids must be 1 numbers; got 0"),
        ({"lengths": torch.zeros(9).int()}, "lengths must be from 1 to 64"),
        ({"lengths": torch.full((9,), 64).int()}, "lengths must be from 1 to 64"),
        ({"slots": torch.zeros(3).int()}, "slots must be .* numbers; got 3"),
        ({"ids": torch.full((49,), WORDS).int()}, "ids must be"),
    ],
)
def test_names_that_are_not_as_they_should_be_are_refused(more: dict, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        read(changed(NAMED, **more), kept())


def test_tokens_of_texts_that_are_named_count_as_if_they_were_sent() -> None:
    texts = kept()
    for limits, message in (
        (replace(LIMITS, request_tokens=200), "more than the 200 of a request"),
        (replace(LIMITS, context=24), "lengths must be from 1 to 24"),
        (replace(LIMITS, pass_tokens=23), "more than the 23 of a pass"),
        (replace(LIMITS, words=50, vocab_size=WORDS), "ids must be from 0 to 49"),
    ):
        for body in (NAMED, ENCODED.body()):
            with pytest.raises(Malformed, match=message):
                read(body, texts, limits)


def test_names_are_no_way_to_make_a_small_request_a_huge_one() -> None:
    long = Example(0, (5,) * 62 + (0, 1), (NO_SLOT,) * 62 + (0, NO_SLOT), (63,), (1,))
    texts, few, many = SentTexts(1 << 20), collate([long]), collate([long] * 400)
    read(Encoded(replace(REQUEST, batch=few), "model").body(), texts)
    encoded = Encoded(replace(REQUEST, batch=many), "model")
    with pytest.raises(Malformed, match="25600 tokens are more than the 1000 of a request"):
        read(encoded.body(encoded.texts), texts)


def test_texts_hold_no_more_than_they_may_and_the_largest_holder_loses_its_oldest() -> None:
    texts, text = SentTexts(10_000), torch.zeros(100).int()  # each takes 912 bytes
    texts.keep("bob", b"own", text)
    for number in range(50):
        texts.keep("alice", bytes([number]), text)
        assert texts.find("alice", bytes([0])) is not None  # it is used all the time
    assert 9_000 < texts.held <= 10_000
    assert texts.find("bob", b"own") is not None
    assert [n for n in range(50) if texts.find("alice", bytes([n])) is not None] == [
        0,
        *range(42, 50),
    ]


def test_a_server_that_forgets_again_and_again_is_told_ever_more_before_names_are_tried() -> None:
    told, names = Told(), [b"a", b"b"]

    def told_before_a_name_is_tried() -> int:
        count = 0
        while not (known := told.known(names)):
            told.answered(names, known)
            count += 1
        return count

    found = []
    for _ in range(8):
        found.append(told_before_a_name_is_tried())
        told.forgot()
    assert found == [1, 1, 2, 6, 14, 30, 62, 62]
    told_before_a_name_is_tried()
    told.answered(names, names)  # it knows them: all is well again
    told.forgot()
    assert told_before_a_name_is_tried() == 1
