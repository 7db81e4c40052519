"""Which server a client asks, and what it does where one does not answer."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.parallel.remote.client import NoServer, Servers, read_token
from ptune_scale.parallel.remote.message import pack
from ptune_scale.parallel.remote.request import Encoded, ModelRequest
from ptune_scale.task.objective import cross_entropy
from tests.serve.conftest import prompts, text_rows
from tests.serving import free_port


@contextlib.contextmanager
def another(status: int, body: bytes, asked: list[bytes] | None = None) -> Iterator[str]:
    """The address of some other server, which always says the same; bodies go to ``asked``."""
    asked = [] if asked is None else asked

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("first", [True, False])
def test_a_server_that_answers_is_found_among_those_that_do_not(
    first: bool, serving, tiny_llama: Path
) -> None:
    url, gone = serving(tiny_llama), f"http://127.0.0.1:{free_port()}"
    with another(200, b"<html>hello</html>") as page, another(503, b"") as ending:
        urls = [gone, page, ending]
        urls = [url, *urls] if first else [*urls, f"{url}/"]
        found = open_served(",".join(urls), patience=5.0)
        assert found.embeddings.of([3]).shape == (1, 32)


def test_where_none_answers_it_says_what_each_of_them_said() -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    with (
        another(200, b"<html>hello</html>") as page,
        another(500, b"no") as broken,
        pytest.raises(NoServer) as raised,
    ):
        open_served(f"{gone},{page},{broken}", patience=0.2)
    for part in (f"{gone}: ", f"{page}: its reply cannot be read", f"{broken}: 500 "):
        assert part in str(raised.value)


def test_a_refusal_is_not_asked_for_again() -> None:
    with (
        another(403, b'{"error": "not you"}') as url,
        pytest.raises(UserError, match="backbone http.*: 403 not you"),
    ):
        open_served(url)


def test_another_model_than_that_of_the_run_is_refused(serving, tiny_llama, tiny_gpt2) -> None:
    found = open_served(serving(tiny_llama))
    found.servers.urls = [serving(tiny_gpt2)]
    with pytest.raises(UserError, match="409 another model is served here"):
        found.embeddings.of([3])


def test_one_of_several_servers_with_another_model_is_left_out(
    serving, tiny_llama, tiny_gpt2
) -> None:
    found = open_served(serving(tiny_llama))
    found.servers.urls = [serving(tiny_gpt2), serving(tiny_llama)]
    found.servers._place = 0
    assert found.embeddings.of([3]).shape == (1, 32)


def test_whoever_waits_can_be_stopped() -> None:
    class Told(Exception):
        pass

    def stop() -> None:
        raise Told

    servers = Servers(f"http://127.0.0.1:{free_port()}", patience=60.0)
    servers.while_waiting = stop
    with pytest.raises(Told):
        servers.describe()


def test_whoever_waits_for_an_answer_can_be_stopped() -> None:
    class Told(Exception):
        pass

    def stop() -> None:
        raise Told

    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = Servers(f"http://127.0.0.1:{silent.getsockname()[1]}")
        servers.while_waiting = stop
        with pytest.raises(Told):
            servers.describe()


def test_patience_begins_with_the_first_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arrived = 0

        def hang_up() -> None:
            nonlocal arrived
            for _ in range(2):
                connection, _ = listener.accept()
                arrived += 1
                time.sleep(0.4)  # longer than the client's patience
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(NoServer):
            Servers(f"http://127.0.0.1:{listener.getsockname()[1]}", patience=0.3).describe()
        thread.join(60)
    assert arrived == 2


def test_a_server_that_never_knows_a_text_is_told_all_once_at_a_time() -> None:
    body = Encoded(ModelRequest("loss", text_rows(1, 6), prompts(), cross_entropy), "model")
    asked: list[bytes] = []
    with another(424, b'{"error": "not known"}', asked) as url:
        servers = Servers(url, patience=0.2)
        servers._told[url].answered(body.texts, ())
        with pytest.raises(NoServer, match="424 not known"):
            servers.ask("/v1/loss", body, lambda reply: None)
    assert asked[0] == body.body(body.texts)
    assert len(asked) > 1
    assert set(asked[1:]) == {body.body()}


def test_a_server_of_another_version_is_not_asked_again() -> None:
    body = pack({}, {}).replace(b'\\"version\\": 2', b'\\"version\\": 1')
    with another(200, body) as url, pytest.raises(UserError, match="version 1 of the protocol"):
        Servers(url).describe()


@pytest.mark.parametrize(
    "urls",
    ["", " , ", "localhost:8000", "http://a,ftp://b", "http://", "http://a:b", "http://a:99999"],
)
def test_what_is_no_address_is_refused(urls: str) -> None:
    with pytest.raises(UserError, match="give http://HOST:PORT"):
        Servers(urls)


def test_a_token_stands_alone_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a-token\n")
    assert read_token(str(path)) == "a-token"
    assert read_token("") == ""
    for wrong in ("", "two tokens", "é"):
        path.write_text(wrong)
        with pytest.raises(UserError, match="one token and nothing else"):
            read_token(str(path))
    with pytest.raises(UserError, match="nowhere"):
        read_token(str(tmp_path / "nowhere"))
