"""Requests to servers of one model: to one of them, and to another where it does not answer.

A request holds all that it needs, or can be told with all that it names, so that it may be sent
again: a step is neither lost nor made twice, whatever becomes of a server.
"""

import logging
import os
import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import httpx2

from ptune_scale.errors import UserError
from ptune_scale.flags import names_in
from ptune_scale.parallel.launch.contact import LostContact
from ptune_scale.parallel.prompt_function import Unanswerable
from ptune_scale.parallel.remote.description import Description
from ptune_scale.parallel.remote.message import CONTENT_TYPE, AnotherVersion, Malformed
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.parallel.remote.texts import Told
from ptune_scale.reading import one_line, read_text
from ptune_scale.strict_json import parse_json

Answer = TypeVar("Answer")

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 660.0
"""More than a server gives a request (``--request_seconds``), until it gives it up itself."""

_SHORTEST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_NAP = 0.2
"""Between two looks at whether the job was told to stop."""

_CHANCE = random.SystemRandom()
"""Of its own: waiting must not change what a job draws from its seed."""

_MODEL = "/v1/model"
_BUSY = 429
_UNLIKE = 409
"""The server has another model, or speaks another version of the protocol."""

_TOO_MUCH = 413
_FORGOTTEN = 424
_OF_ROWS = 422
_OURS = frozenset({400, 401, 403, 404, 405, 411, 415, _OF_ROWS})
"""Statuses that say that the request is wrong: it would be wrong again."""

_log = logging.getLogger(__name__)


class NoServer(LostContact):
    """No server answers any more."""


class LowerLimits(Unanswerable):
    """A request is larger than a server takes.

    Attributes:
        limits: what the server says that it takes.
    """

    def __init__(self, line: str, limits: Limits) -> None:
        super().__init__(line)
        self.limits = limits


class Body(Protocol):
    """What is sent to a server, which may know some of its texts by name; see ``Encoded``."""

    @property
    def texts(self) -> Sequence[bytes]: ...

    def body(self, known: Collection[bytes] = ()) -> bytes: ...


@dataclass(frozen=True)
class Plain:
    """A body without texts."""

    content: bytes = b""
    texts: Sequence[bytes] = ()

    def body(self, known: Collection[bytes] = ()) -> bytes:
        return self.content


class Servers:
    """Servers of one model, by their addresses.

    Args:
        urls: comma-separated, each ``http://HOST:PORT`` or ``https://...``.
        token: what they know this client by; "" where they ask for none.
        patience: seconds in which one of them has to answer, from the first failure on, before a
            job ends.

    Attributes:
        while_waiting: called again and again until a server answers, so that a job can be stopped.

    Raises:
        UserError: an address is none.
    """

    def __init__(self, urls: str, token: str = "", patience: float = 300.0) -> None:
        self.urls = [url.rstrip("/") for url in names_in(urls)]
        if not self.urls or not all(map(_is_address, self.urls)):
            raise UserError(f"--backbone {urls!r}: give http://HOST:PORT, or several by commas")
        self.patience = patience
        self.while_waiting: Callable[[], None] = lambda: None
        # Clients that begin together do not all go to the first.
        self._place = os.getpid() % len(self.urls)
        self._told: dict[str, Told] = defaultdict(Told)
        self._client = httpx2.Client(
            headers={
                "X-Client": secrets.token_hex(8),
                **({"Authorization": f"Bearer {token}"} if token else {}),
            },
            timeout=httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=False,
        )

    def describe(self) -> Description:
        """What a server says of its model.

        Raises:
            UserError: it refuses.
            NoServer: none answers.
        """
        return self._ask("GET", _MODEL, Plain(), Description.decode)

    def ask(self, path: str, body: Body, decode: Callable[[bytes], Answer]) -> Answer:
        """The answer to a request, whichever server gives it.

        Args:
            decode: makes it of a reply's body.

        Raises:
            LowerLimits: the request is larger than a server takes.
            UserError: the request is refused; ``Unanswerable`` where it is for its rows.
            NoServer: none answers.
        """
        return self._ask("POST", path, body, decode)

    def pass_over(self) -> None:
        """Ask the next server first."""
        self._place = (self._place + 1) % len(self.urls)

    def _ask(self, method: str, path: str, body: Body, decode: Callable[[bytes], Answer]) -> Answer:
        since: float | None = None
        wait, is_said = _SHORTEST_WAIT, False
        while True:
            reasons, earliest, is_busy, unlike = [], wait, False, 0
            for _ in self.urls:
                url = self.urls[self._place]
                try:
                    known = self._told[url].known(body.texts)
                    response = self._send(method, url + path, body.body(known))
                    if response.status_code == _FORGOTTEN and known:
                        self._told[url].forgot()
                        known = set()
                        response = self._send(method, url + path, body.body())
                    if response.status_code == 200:
                        answer = decode(response.content)
                        self._told[url].answered(body.texts, known)
                        return answer
                    reasons.append(f"{url}: {_said(response)}")
                    if response.status_code == _TOO_MUCH:
                        said = Description.decode(self._send("GET", url + _MODEL, b"").content)
                        raise LowerLimits(f"backbone {reasons[-1]}", said.limits)
                    if response.status_code in _OURS:
                        kind = Unanswerable if response.status_code == _OF_ROWS else UserError
                        raise kind(f"backbone {reasons[-1]}")
                    unlike += response.status_code == _UNLIKE
                    if response.status_code == _BUSY:
                        since, is_busy = None, True  # others are before us
                        earliest = max(earliest, _retry_after(response))
                except AnotherVersion as error:
                    reasons.append(f"{url}: {error}")
                    unlike += 1
                except httpx2.RequestError as error:
                    reasons.append(f"{url}: {one_line(error) or type(error).__name__}")
                except Malformed as error:
                    reasons.append(f"{url}: its reply cannot be read ({error})")
                since = since or time.monotonic()
                self.pass_over()
            assert since is not None
            if unlike == len(self.urls):
                raise UserError(f"backbone {reasons[0]}")
            waited = time.monotonic() - since
            if waited >= self.patience:
                raise NoServer(f"no server answers ({'; '.join(reasons)})")
            if not (is_said or is_busy):
                is_said = True
                again = f"trying again for {self.patience:.0f} s (--backbone_patience)"
                _log.warning("backbone %s; %s", reasons[-1], again)
            pause = earliest * _CHANCE.uniform(1, 1.5)  # not all that wait come again at once
            self._wait(min(pause, max(self.patience - waited, _SHORTEST_WAIT)))
            wait = min(2 * wait, _LONGEST_WAIT)

    def _send(self, method: str, url: str, body: bytes) -> httpx2.Response:
        """A reply; a job that is told to stop does not wait for it."""
        reply: Future[httpx2.Response] = Future()

        def send() -> None:
            try:
                headers = {"Content-Type": CONTENT_TYPE}
                found = self._client.request(method, url, content=body, headers=headers)
            except Exception as error:
                reply.set_exception(error)
            else:
                reply.set_result(found)

        threading.Thread(target=send, daemon=True).start()
        while not futures.wait((reply,), _NAP).done:
            self.while_waiting()
        return reply.result()

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.while_waiting()
            time.sleep(min(left, _NAP))


def _is_address(url: str) -> bool:
    try:
        found = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    port_fits = found.port is None or 0 < found.port < 1 << 16
    return found.scheme in ("http", "https") and bool(found.host) and port_fits


def read_token(path: str) -> str:
    """The token in a file; "" for no file.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    if not path:
        return ""
    token = read_text(Path(path), "--backbone_token").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"--backbone_token {path}: it must hold one token and nothing else")
    return token


def _said(response: httpx2.Response) -> str:
    """The status and the reason of a refusal."""
    try:
        reason = str(parse_json(response.content)["error"])
    except (ValueError, KeyError, TypeError):
        reason = response.reason_phrase
    return f"{response.status_code} {one_line(reason)}"


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(float(response.headers.get("Retry-After", 0)), _LONGEST_WAIT)
    except ValueError:
        return 0.0
