"""Bodies of requests, read while there is room for them and for their sender; of answers."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ptune_scale.parallel.remote.message import CONTENT_TYPE
from ptune_scale.serve.queue import Full

_AT_ONCE = 16
"""Of the largest size, over all requests that are being read, as far as they have arrived."""

_OF_ONE = 4
"""Of these, as many of one client: whoever sends slowly is in nobody's way.

Answers that a client has not taken yet count among them.
"""


class Bodies:
    """What has arrived of requests that no rank knows yet, and answers that are not taken yet.

    Args:
        most: bytes of a body.
        seconds: in which it has to arrive.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._held: Counter[str] = Counter()
        self._untaken: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def read(self, request: Request, who: str) -> AsyncIterator[bytearray]:
        """A body, which is held until the end of the context.

        Raises:
            HTTPException: its size is not said or is another, or it is too large.
            TimeoutError: it comes too slowly.
            Full: too many are being read.
        """
        said = request.headers.get("content-length", "")
        if not said.isdecimal():
            raise HTTPException(411, "say how long the body is (Content-Length)")
        size = int(said)
        if size > self.most:
            raise HTTPException(413, f"the body is larger than {self.most} bytes: ask in parts")
        body = bytearray()
        try:
            async with asyncio.timeout(self.seconds):
                async for part in request.stream():
                    self._take(who, len(part))
                    body += part
                    if len(body) > size:
                        break
            if len(body) != size:
                raise HTTPException(400, "the body is not as long as it is said to be")
            yield body
        finally:
            _give_back(self._held, who, len(body))

    @contextlib.contextmanager
    def sending(self, who: str, size: int) -> Iterator[None]:
        """Until the end of the context an answer takes of its receiver's room."""
        self._untaken[who] += size
        try:
            yield
        finally:
            _give_back(self._untaken, who, size)

    def _take(self, who: str, size: int) -> None:
        own = self._held[who] + self._untaken[who]
        too_many = self._held.total() + size > _AT_ONCE * self.most
        if too_many or own + size > _OF_ONE * self.most:
            raise Full
        self._held[who] += size


class Reply(Response):
    """An answer: of whoever leaves large ones untaken nothing more is read.

    Args:
        who: whose answer it is.
    """

    media_type = CONTENT_TYPE

    def __init__(self, content: bytes, bodies: Bodies, who: str) -> None:
        super().__init__(content)
        self._bodies, self._who = bodies, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._bodies.sending(self._who, len(self.body)):
            await super().__call__(scope, receive, send)


def _give_back(counts: Counter[str], who: str, size: int) -> None:
    counts[who] -= size
    if not counts[who]:
        del counts[who]
