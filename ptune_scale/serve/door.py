"""Connections: at most so many, and none that stays without asking or taking anything."""

import asyncio
import socket
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ptune_scale.errors import UserError

_HEADER_SECONDS = 10
_LOOKS = 6
"""While a connection takes nothing of what is there for it: half a minute."""

_PART_BYTES = 1 << 18
_KEEP_SECONDS = 75
_END_SECONDS = 5


class _Protocol(H11Protocol):
    """Closes a connection on which a request's first lines, or answers, do not get on.

    A byte after an answer ends the time for which an idle connection is kept, so this one looks
    after whatever comes then: half a request, or what is left of a body that nobody read.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._was_waiting = False
        self._left = self._looks = 0
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._late = self.loop.call_later(_HEADER_SECONDS / 2, self._look)

    def _look(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        has_some = self.timeout_keep_alive_task is None or bool(self.conn.trailing_data[0])
        is_waiting = is_answered and has_some
        if is_waiting and self._was_waiting:
            self.transport.close()
        self._was_waiting = is_waiting
        left = self.transport.get_write_buffer_size()
        self._looks = self._looks + 1 if left and left == self._left else 0
        self._left = left
        if self._looks >= _LOOKS:
            self.transport.abort()  # to close would be to wait until all is taken
        self._look_later()


class _InParts:
    """Gives a connection no more of an answer at a time than it takes.

    Whoever reads slowly would else have a copy of a whole answer, which nobody counts.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_parts(message: Message) -> None:
            body = message.get("body", b"")
            starts = range(0, len(body), _PART_BYTES)
            for start in starts[:-1]:
                part = body[start : start + _PART_BYTES]
                await send({"type": message["type"], "body": part, "more_body": True})
            await send({**message, "body": body[starts[-1] :]} if starts else message)

        await self._app(scope, receive, send_in_parts)


class Door:
    """An HTTP server in a thread of its own, so that the main one can compute.

    Args:
        connections: most at a time; others are answered with 503.

    Raises:
        UserError: it cannot listen there.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, connections: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=512)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--host {host} --port {port}: cannot listen there ({error}); choose another"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            _InParts(app),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # whatever anybody sends is no news
            access_log=False,
            server_header=False,
            limit_concurrency=connections,
            timeout_keep_alive=_KEEP_SECONDS,
            timeout_graceful_shutdown=_END_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve([self._socket])), daemon=True
        )

    def open(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Let answers that are on their way arrive, and close all connections."""
        self._server.should_exit = True
        self._thread.join(2 * _END_SECONDS)
