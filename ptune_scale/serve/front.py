"""What a server says over HTTP: who may ask, what is asked well, and the answers.

A refusal is JSON with one line that says what to do, and what is refused never reaches a rank.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel.remote.description import Description
from ptune_scale.parallel.remote.message import (
    CONTENT_TYPE,
    AnotherVersion,
    Malformed,
    TooMuch,
    pack,
    require,
    tensor_of,
    unpack,
)
from ptune_scale.parallel.remote.request import AnotherModel, decode
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.parallel.remote.texts import Forgotten
from ptune_scale.serve.access import ANYBODY, Access, Caller, Person
from ptune_scale.serve.bodies import Bodies, Reply
from ptune_scale.serve.config import CapacityConfig
from ptune_scale.serve.metrics import Metrics
from ptune_scale.serve.queue import Draining, Full, Queue
from ptune_scale.serve.texts import SentTexts
from ptune_scale.serve.ticket import Ticket
from ptune_scale.serve.workers import Workers

_log = logging.getLogger(__name__)

Handler = Callable[[HttpRequest, Person], Awaitable[Response]]


class Front:
    """Answers HTTP.

    Args:
        backbone: for word embeddings.
    """

    def __init__(
        self,
        description: Description,
        backbone: Backbone,
        access: Access,
        capacity: CapacityConfig,
        queue: Queue,
        metrics: Metrics,
    ) -> None:
        self.description = description
        self.backbone = backbone
        self.access = access
        self.capacity = capacity
        self.queue = queue
        self.metrics = metrics
        self.is_draining = False
        self._identity = description.identity
        self._texts = SentTexts(capacity.text_mib << 20)
        self._described: dict[Limits, bytes] = {}
        self._bodies = Bodies(capacity.request_mib << 20, capacity.body_seconds)
        self._workers = Workers()
        asked = [
            Route(f"/v1/{kind}", self._guarded(self._ask), methods=["POST"])
            for kind in ("loss", "ask", "generate")
        ]
        self.app = Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/metrics", self._guarded(self._metrics)),
                Route("/v1/model", self._guarded(self._model)),
                Route("/v1/words", self._guarded(self._words), methods=["POST"]),
                *asked,
            ],
            exception_handlers={HTTPException: _unknown},
        )

    def _guarded(self, handler: Handler) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def handle(request: HttpRequest) -> Response:
            started, path = time.perf_counter(), request.scope["path"]
            try:
                response = await handler(request, self._enter(request))
            except Exception as error:
                response = _refusal(error)
            self.metrics.requests.labels(path, response.status_code).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)
            return response

        return handle

    def _enter(self, request: HttpRequest) -> Person:
        """Who asks.

        Raises:
            HTTPException: nobody who may.
        """
        if not self.access.people:
            return ANYBODY
        person = self.access.who(request.headers.get("authorization"))
        if person is None:
            raise HTTPException(401, "give a token that the server knows (--backbone_token FILE)")
        if seconds := self.access.seconds_to_wait(person):
            most = person.requests_per_minute
            raise HTTPException(
                429, f"more than {most} requests a minute", {"Retry-After": str(seconds)}
            )
        return person

    async def _health(self, request: HttpRequest) -> Response:
        if self.is_draining:
            return _refusal(Draining())
        return JSONResponse({"status": "ok", "model": self.description.name})

    async def _metrics(self, request: HttpRequest, person: Person) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _model(self, request: HttpRequest, person: Person) -> Response:
        limits = self._limits(person)
        if limits not in self._described:
            self._described[limits] = replace(self.description, limits=limits).encode()
        return Response(self._described[limits], media_type=CONTENT_TYPE)

    def _limits(self, person: Person) -> Limits:
        limits = self.description.limits
        if person.request_tokens is None:
            return limits
        most = min(limits.request_tokens, person.request_tokens)
        return replace(limits, request_tokens=most)

    async def _words(self, request: HttpRequest, person: Person) -> Response:
        who = self._caller(request, person).who
        async with self._bodies.read(request, who) as body:
            found = await self._workers.run(who, self._embed, body)
        return Reply(found, self._bodies, who)

    def _embed(self, body: bytearray) -> bytes:
        header, tensors = unpack(bytes(body))
        if header.get("model") != self._identity:
            raise AnotherModel("another model is served here than the request is meant for")
        ids, limits = tensor_of(tensors, "tokens", torch.int32, 1), self.description.limits
        most = limits.words_at_a_time
        require(0 < len(ids) <= most, f"ask for 1 to {most} tokens at a time; got {len(ids)}")
        first, last = int(ids.min()), int(ids.max())
        require(first >= 0 and last < limits.words, f"tokens must be from 0 to {limits.words - 1}")
        words = self.backbone.embeddings
        if bool((ids[1:] - ids[:-1] == 1).all()):
            return pack({}, {"words": words.rows(first, last + 1)})
        return pack({}, {"words": words.of(ids.tolist())})

    async def _ask(self, request: HttpRequest, person: Person) -> Response:
        if self.is_draining:
            raise Draining
        caller, path = self._caller(request, person), request.scope["path"]
        async with self._bodies.read(request, caller.who) as body:
            ticket = await self._workers.run(caller.who, self._let_in, body, path, caller)
        del body  # not kept while the request waits
        return Reply(await self._wait(ticket, request), self._bodies, caller.who)

    def _caller(self, request: HttpRequest, person: Person) -> Caller:
        return self.access.caller(person, request.headers.get("x-client", "")[:64])

    def _let_in(self, body: bytearray, path: str, caller: Caller) -> Ticket:
        limits, texts = self._limits(caller.person), self._texts.of(caller.who)
        asked = decode(bytes(body), self._identity, limits, texts)
        if path != f"/v1/{asked.kind}":
            raise Malformed(f"a request of kind {asked.kind} belongs to /v1/{asked.kind}")
        if self.access.people:
            asked = asked.owned_by(caller.who)
        capacity = self.capacity
        ticket = Ticket(asked, caller, capacity.pass_tokens, capacity.pass_targets)
        self.queue.put(ticket)
        return ticket

    async def _wait(self, ticket: Ticket, request: HttpRequest) -> bytes:
        """The answer, unless whoever asked goes away or it takes too long."""
        answer = asyncio.wrap_future(ticket.answer)
        gone = asyncio.ensure_future(_left(request))
        try:
            async with asyncio.timeout(self.capacity.request_seconds):
                await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Draining  # to nobody
            return await answer
        finally:
            gone.cancel()
            ticket.give_up()


async def _left(request: HttpRequest) -> None:
    """Returns when whoever asked has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(error: Exception) -> Response:
    """What is answered instead; what is no fault of the request is said without details."""
    headers: dict[str, Any] = {}
    match error:
        case HTTPException():
            status, said = error.status_code, error.detail
            headers = dict(error.headers or {})
        case AnotherModel() | AnotherVersion():
            status, said = 409, error.line
        case TooMuch():
            status, said = 413, error.line
        case Malformed() | UserError():
            status, said = 422, error.line
        case Forgotten():
            status, said = 424, str(error)
        case Full():
            status, said, headers = 429, "too many requests wait", {"Retry-After": "1"}
        case Draining() | CancelledError() | asyncio.CancelledError():
            status, said, headers = 503, "the server is ending", {"Retry-After": "1"}
        case ClientDisconnect():
            status, said = 400, "the request was cut off"
        case TimeoutError():
            status, said = 408, "it took too long"
        case _:
            _log.error("a request failed, which should not be", exc_info=error)
            status, said = 500, "the request failed; the server's log says more"
    if status not in (424, 429):
        headers["Connection"] = "close"
    return JSONResponse({"error": said}, status, headers)


async def _unknown(request: HttpRequest, error: Exception) -> Response:
    return _refusal(error)
