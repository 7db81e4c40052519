"""Connections: at most so many, and none that stays without asking anything."""

import asyncio
import socket
import threading
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from ptune_scale.errors import UserError

_HEADER_SECONDS = 10
_KEEP_SECONDS = 75
_END_SECONDS = 5


class _Protocol(H11Protocol):
    """Closes a connection on which no whole request has begun in time."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(_HEADER_SECONDS, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _close_if_idle(self) -> None:
        if self.cycle is None:
            self.transport.close()


class Door:
    """An HTTP server in a thread of its own, so that the main one can compute.

    Args:
        connections: most at a time; others are answered with 503.

    Raises:
        UserError: it cannot listen there.
    """

    def __init__(self, app: Starlette, host: str, port: int, connections: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=512)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--host {host} --port {port}: cannot listen there ({error}); choose another"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
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
