"""What is said over HTTP: a bad request ends in one clear line, and touches nobody."""

import random
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx2
import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.parallel.remote.message import pack, unpack
from ptune_scale.parallel.remote.request import Encoded, ModelRequest
from ptune_scale.task.example import Example, collate
from ptune_scale.task.objective import cross_entropy
from tests.serve.conftest import prompts, rows
from tests.serve.hostile import attack
from tests.serving import post, served, unanswered, wait_for_metric

WORDS_OF_FOUR = {"tokens": torch.zeros(4, 2, 1).int(), "exists": torch.ones(4, 2, 1).byte()}
"""Of a task more than the request has."""


def changed(body: bytes, **more: object) -> bytes:
    """A body with something else in its header or in place of a tensor."""
    header, tensors = unpack(body)
    header.pop("version")
    for name, value in more.items():
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        else:
            header[name] = value
    return pack(header, tensors)


def test_good_requests_are_answered(url: str, bodies) -> None:
    for path, body in bodies:
        response = post(url, path, body)
        assert response.status_code == 200, response.text
        unpack(response.content)


@pytest.mark.parametrize(
    "more, status, message",
    [
        ({"model": "another"}, 409, "another model is served here"),
        ({"version": 1}, 409, "speaks version 1 of the protocol, this side version 2"),
        ({"kind": "steal"}, 422, "there are loss, ask, generate"),
        ({"kind": "generate", "max_tokens": 3, "stop": []}, 422, "belongs to /v1/generate"),
        ({"asked": "logits"}, 422, "asked is 'logits'; there are cross_entropy"),
        ({"asked": "label"}, 422, "tensor 'tokens' must be"),
        ({"asked": "label", **WORDS_OF_FOUR}, 422, "label words must be .tasks, labels, words"),
        ({"group_size": 2}, 422, "9 rows are not groups of 2"),
        ({"prompts": torch.full((3, 3, 32), torch.nan)}, 422, "training has diverged"),
        ({"prompts": torch.full((3, 3, 32), 1e6)}, 422, "training has diverged"),
        ({"prompts": torch.zeros(3, 3, 31)}, 422, r"must be \(tasks, slots, 32\)"),
        ({"prompts": torch.zeros(3, 1, 32)}, 422, "slots must be from -1 to 0"),
        ({"prompts": torch.zeros(2, 3, 32)}, 422, "tasks must be from 0 to 1"),
        ({"prompts": torch.zeros(10**9, 0, 32)}, 422, "1000000000 tasks for 9 rows"),
        ({"lengths": torch.full((9,), 65).int()}, 422, "lengths must be from 1 to 64"),
        ({"ids": torch.full((80,), 99999).int()}, 422, "ids must be"),
        ({"answers": torch.full((9,), 99999).int()}, 422, "answers must be from -1 to"),
        ({"targets": torch.full((9,), 63).int()}, 422, "behind the end of its row"),
        ({"target_counts": torch.full((9,), 2).int()}, 422, "targets must be 18 numbers; got 9"),
        ({"target_counts": torch.full((9,), 65).int()}, 422, "target_counts must be from 1 to 64"),
        ({"prompts": torch.zeros(3, 65, 32)}, 422, "65 slots are more than the 64 of a row"),
        ({"weights": torch.full((9,), torch.inf).double()}, 422, "weights must be from -1 to 1"),
        ({"weights": torch.ones(9)}, 422, "'weights' must be torch.float64"),
        ({"tasks": torch.ones(9)}, 422, "'tasks' must be torch.int32"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_one_line(
    more: dict, status: int, message: str, url: str, bodies
) -> None:
    response = post(url, "/v1/loss", changed(bodies[0][1], **more))
    assert response.status_code == status
    assert re.search(message, response.json()["error"])
    assert "\n" not in response.json()["error"]


def test_paths_and_methods_that_are_none_are_refused(url: str, bodies) -> None:
    assert post(url, "/v1/nothing", b"").status_code == 404
    assert httpx2.get(f"{url}/v1/loss", trust_env=False).status_code == 405
    assert httpx2.delete(f"{url}/v1/model", trust_env=False).status_code == 405


def test_hundreds_of_hostile_requests_leave_everything_as_it_was(url: str, bodies, remote) -> None:
    chance = random.Random(16)
    function = remote(url)
    batch = rows(1, 9)
    expected = function.loss_and_gradient(batch, prompts(), cross_entropy)
    statuses: dict[int, int] = {}
    for number in range(150):
        found = attack(url, bodies, chance)
        assert found.status < 500, found
        statuses[found.status] = statuses.get(found.status, 0) + 1
        if number % 50 == 49:
            again = function.loss_and_gradient(batch, prompts(), cross_entropy)
            assert all(map(torch.equal, again, expected))
    assert statuses[422] > 50
    assert {400, 411, 413} <= statuses.keys()


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_connection_on_which_no_request_comes_to_its_end_is_closed(
    before: bytes, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptune_scale.serve.door._HEADER_SECONDS", 0.4)
    place = urlsplit(url)
    unread = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    for more in (b"", b"GET /healthz HTTP/1.1\r\nHost:"):
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            connection.sendall(before + more)
            if before and not more:
                continue  # it may stay: clients ask again on it
            while connection.recv(4096):
                pass
    for late in (b"1", b"123456789"):
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            connection.sendall(before + unread)
            time.sleep(0.1)  # it is answered by now, or else is read with the rest
            connection.sendall(late)
            while connection.recv(4096):
                pass


def test_requests_that_are_too_large_are_refused(tiny_llama, remote) -> None:
    with served(tiny_llama, request_tokens=300, pass_tokens=100) as url:
        function = remote(url)
        said = function._said
        many = ModelRequest("loss", rows(1, 60), prompts(), cross_entropy)
        response = post(url, "/v1/loss", Encoded(many, said.identity).body())
        assert (response.status_code, "more than the 300 of a" in response.text) == (413, True)
        long = ModelRequest("generate", rows(1, 9), prompts(), None, 60)
        response = post(url, "/v1/generate", Encoded(long, said.identity).body())
        assert (response.status_code, "to read and write are more" in response.text) == (413, True)
        with pytest.raises(UserError, match="a question has .* tokens, more than the 100"):
            function.loss_and_gradient(rows(1, 16, group_size=16), prompts())
        function.loss_and_gradient(rows(1, 16), prompts())


def test_targets_and_texts_that_are_too_many_at_once_are_refused(tiny_llama, remote) -> None:
    with served(tiny_llama, pass_targets=7, written_tokens=5) as url:
        function = remote(url)
        function.loss_and_gradient(rows(1, 16, targets=3, group_size=2), prompts())
        with pytest.raises(UserError, match="a question has 8 targets, more than the 7"):
            function.loss_and_gradient(rows(1, 16, targets=2, group_size=4), prompts())
        function.generate(rows(1, 9), prompts(), max_tokens=5)
        with pytest.raises(UserError, match="max_tokens 6 is more than the 5"):
            function.generate(rows(1, 9), prompts(), max_tokens=6)


def test_too_many_at_once_wait_outside_and_are_all_answered_in_the_end(tiny_llama, remote) -> None:
    with served(tiny_llama, queue_requests=2, queue_share=1) as url:
        function = remote(url)
        expected = function.loss_and_gradient(rows(1, 9), prompts())
        found = []

        def ask() -> None:
            own = remote(url)
            for _ in range(4):
                found.append(own.loss_and_gradient(rows(1, 9), prompts()))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(found) == 24
        for each in found:
            torch.testing.assert_close(each, expected, atol=1e-5, rtol=1e-5)


def test_only_who_has_a_token_may_ask(guarded: str, bodies, remote) -> None:
    path, body = bodies[0]
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "alice-has-a-long-token"},
    ):
        response = post(guarded, path, body, **headers)
        assert response.status_code == 401
        assert "give a token" in response.json()["error"]
        assert httpx2.get(f"{guarded}/v1/model", headers=headers, trust_env=False).is_error
        assert httpx2.get(f"{guarded}/metrics", headers=headers, trust_env=False).is_error
    assert httpx2.get(f"{guarded}/healthz", trust_env=False).status_code == 200
    with pytest.raises(UserError, match="401 give a token"):
        remote(guarded, token="not-the-right-one")
    remote(guarded, token="alice-has-a-long-token").loss_and_gradient(rows(1, 9), prompts())


def test_each_token_has_its_own_limits(guarded: str, bodies) -> None:
    path, body = bodies[0]
    headers = {"Authorization": "Bearer bob-has-another-token"}
    response = post(guarded, path, body, **headers)
    assert (response.status_code, "of a request" in response.text) == (413, True)
    small = collate([Example(0, (1, 2, 3), (-1, -1, -1), (2,), (4,))])
    said = open_served(guarded, "alice-has-a-long-token").description
    assert open_served(guarded, "bob-has-another-token").description.limits.request_tokens == 60
    request = ModelRequest("loss", small, prompts()[:1], cross_entropy)
    statuses = [
        post(guarded, path, Encoded(request, said.identity).body(), **headers).status_code
        for _ in range(5)
    ]
    assert statuses[0] == 200
    assert 429 in statuses


def test_metrics_count_what_was_done(tiny_llama, remote) -> None:
    with served(tiny_llama) as url:
        batch = rows(1, 9)
        remote(url).loss_and_gradient(batch, prompts())
        post(url, "/v1/loss", b"")
        text = httpx2.get(f"{url}/metrics", trust_env=False).text
    assert f'ptune_tokens_total{{client="anybody"}} {float(batch.num_tokens)}' in text
    assert 'ptune_requests_total{path="/v1/loss",status="200"} 1.0' in text
    assert 'ptune_requests_total{path="/v1/loss",status="422"} 1.0' in text
    assert "ptune_pass_requests_count 1.0" in text
    assert "ptune_waiting_requests 0.0" in text


def test_a_request_whose_sender_went_away_is_not_computed(tiny_llama, bodies) -> None:
    path, body = bodies[0]
    with unanswered(tiny_llama) as (url, queue):
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            wait_for_metric(url, "ptune_waiting_requests 1.0")
        wait_for_metric(url, "ptune_waiting_requests 0.0")
        assert queue.take(0) == []
