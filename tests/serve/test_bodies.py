"""Bodies as they arrive: slow, large and many ones are in nobody's way."""

import asyncio
import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.requests import Request

from ptune_scale.serve.bodies import Bodies, Reply
from ptune_scale.serve.door import Door
from ptune_scale.serve.queue import Full
from ptune_scale.serve.ticket import Ticket
from tests.serving import post, served, unanswered, wait_for_metric

HEAD = "POST {} HTTP/1.1\r\nHost: x\r\nX-Client: {}\r\nContent-Length: {}\r\n\r\n"


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port), timeout=60)


def test_a_slow_sender_is_given_up_and_others_are_answered_meanwhile(tiny_llama, bodies) -> None:
    path, body = bodies[0]
    with served(tiny_llama, body_seconds=1.0) as url, connect(url) as slow:
        slow.sendall(HEAD.format(path, "slow", len(body)).encode() + body[:100])
        assert post(url, path, body).status_code == 200
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(tiny_llama) -> None:
    with served(tiny_llama, request_mib=1) as url, connect(url) as connection:
        connection.sendall(HEAD.format("/v1/loss", "large", 2000000).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_bodies_that_are_announced_and_do_not_come_shut_nobody_out(tiny_llama, bodies) -> None:
    path, body = bodies[0]
    head = HEAD.format(path, "silent", 1 << 20).encode()
    with served(tiny_llama, request_mib=1) as url, contextlib.ExitStack() as stack:
        for _ in range(17):
            stack.enter_context(connect(url)).sendall(head)
        time.sleep(0.5)
        assert post(url, path, body, **{"X-Client": "silent"}).status_code == 200


def test_who_sends_nearly_all_and_stalls_holds_a_share_of_the_room(tiny_llama, bodies) -> None:
    path, body = bodies[0]
    size = 1 << 20
    with unanswered(tiny_llama, request_mib=1) as (url, _), contextlib.ExitStack() as stack:
        for _ in range(5):
            stalled = stack.enter_context(connect(url))
            stalled.sendall(HEAD.format(path, "slow", size).encode() + bytes(size - 1))
        deadline = time.monotonic() + 60  # until all of that has arrived
        while (found := post(url, path, b"{}" * 99, **{"X-Client": "slow"})).status_code != 429:
            assert found.status_code == 422 and time.monotonic() < deadline
        assert post(url, path, b"{}" * 99, **{"X-Client": "other"}).status_code == 422


def test_a_request_that_takes_long_to_read_keeps_nobody_but_its_sender_waiting(
    tiny_llama, bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, body = bodies[0]
    entered, go_on, begun = threading.Event(), threading.Event(), []

    def slowly(request, caller, *limits) -> Ticket:
        begun.append(caller.who)
        if len(begun) == 1:
            entered.set()
            assert go_on.wait(60)
        return Ticket(request, caller, *limits)

    monkeypatch.setattr("ptune_scale.serve.front.Ticket", slowly)
    with unanswered(tiny_llama) as (url, _), contextlib.ExitStack() as stack:

        def send(who: str) -> None:
            text = HEAD.format(path, who, len(body)).encode() + body
            stack.enter_context(connect(url)).sendall(text)

        send("large")
        assert entered.wait(60)
        send("large")
        assert httpx2.get(f"{url}/healthz", trust_env=False, timeout=30).status_code == 200
        send("small")
        wait_for_metric(url, "ptune_waiting_requests 1.0")
        assert begun == ["large", "small"]
        go_on.set()
        wait_for_metric(url, "ptune_waiting_requests 3.0")


def test_who_takes_no_answer_is_cut_off_and_has_one_part_of_it_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ptune_scale.serve.door._HEADER_SECONDS", 1.0)
    size, is_over = 1 << 26, threading.Event()

    async def app(scope, receive, send) -> None:
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})
        is_over.set()

    with contextlib.closing(Door(app, "127.0.0.1", 0, 64)) as door:
        door.open()
        url, taken = f"http://127.0.0.1:{door.port}", 0
        assert len(httpx2.get(url, trust_env=False, timeout=60).content) == size
        assert is_over.wait(60)
        is_over.clear()
        with connect(url) as idle, contextlib.suppress(ConnectionResetError):
            idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert is_over.wait(60)
            while part := idle.recv(1 << 20):
                taken += len(part)
    assert taken < size


def test_of_whoever_leaves_large_answers_untaken_nothing_more_is_read() -> None:
    async def scenario() -> list[str]:
        bodies, go_on, said = Bodies(100, 10.0), asyncio.Event(), []

        async def send(message) -> None:
            await go_on.wait()

        async def receive() -> dict:
            return {"type": "http.request", "body": b"12345", "more_body": False}

        async def ask(who: str) -> None:
            request = Request({"type": "http", "headers": [(b"content-length", b"5")]}, receive)
            try:
                async with bodies.read(request, who):
                    said.append(f"{who} is read")
            except Full:
                said.append(f"{who} is not")

        answers = [Reply(bytes(size), bodies, "idle") for size in (300, 96)]
        sent = [asyncio.ensure_future(each({"type": "http"}, receive, send)) for each in answers]
        await asyncio.sleep(0)
        await ask("idle")
        await ask("other")
        go_on.set()
        await asyncio.gather(*sent)
        await ask("idle")
        return said

    assert asyncio.run(scenario()) == ["idle is not", "other is read", "idle is read"]
