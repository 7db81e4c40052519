"""Texts by name against real servers: the same bits, and nothing lost where one has forgotten."""

from pathlib import Path

import httpx2
import pytest
import torch

from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.parallel.remote.request import Encoded, ModelRequest
from ptune_scale.task.objective import cross_entropy
from tests.serve.conftest import prompts, text_rows
from tests.serving import served

BATCH = text_rows(1, 9)


def recorded(function) -> list[tuple[int, int]]:
    """Of each request from now on, how long it was and the status of its reply."""
    said, send = [], function._servers._send

    def record(method: str, url: str, body: bytes) -> httpx2.Response:
        response = send(method, url, body)
        said.append((len(body), response.status_code))
        return response

    function._servers._send = record
    return said


def test_what_is_named_is_computed_with_the_same_bits(serving, tiny_llama: Path, remote) -> None:
    function = remote(serving(tiny_llama))
    said = recorded(function)
    expected = function.loss_and_gradient(BATCH, prompts())
    for _ in range(2):
        assert all(map(torch.equal, function.loss_and_gradient(BATCH, prompts()), expected))
    assert float(expected[1].abs().max()) > 0
    assert [status for _, status in said] == [200, 200, 200]
    assert said[1][0] == said[2][0] < said[0][0]


def test_another_server_behind_the_same_address_is_told_in_the_same_step(
    serving, tiny_llama: Path, remote
) -> None:
    with served(tiny_llama) as other:
        function = remote(serving(tiny_llama))
        expected = function.loss_and_gradient(BATCH, prompts())
        servers = function._servers
        [url] = servers.urls
        servers._told[other] = servers._told[url]
        servers.urls = [other]
        said = recorded(function)
        for _ in range(2):
            assert all(map(torch.equal, function.loss_and_gradient(BATCH, prompts()), expected))
        assert [status for _, status in said] == [424, 200, 200]
        assert said[0][0] == said[2][0] < said[1][0]


@pytest.mark.parametrize("has_tokens", [True, False])
def test_a_client_cannot_learn_what_another_has_sent(
    has_tokens: bool, serving, guarded: str, tiny_llama: Path
) -> None:
    url = guarded if has_tokens else serving(tiny_llama)
    token = "alice-has-a-long-token" if has_tokens else ""
    said = open_served(url, token).description
    request = ModelRequest("loss", text_rows(2, 1), prompts(), cross_entropy)
    body = Encoded(request, said.identity)

    def post(content: bytes, who: str) -> int:
        headers = {"X-Client": who}
        if has_tokens:
            headers = {"Authorization": f"Bearer {who}-has-a-long-token"}
        return httpx2.post(
            f"{url}/v1/loss", content=content, headers=headers, trust_env=False, timeout=60
        ).status_code

    assert post(body.body(body.texts), "alice") == 424
    assert post(body.body(), "alice") == 200
    assert post(body.body(body.texts), "alice") == 200
    assert post(body.body(body.texts), "carol") == 424
