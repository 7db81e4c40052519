"""Bodies of requests: read while there is room for them, and for their sender."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ptune_scale.serve.queue import Full

_AT_ONCE = 16
"""Of the largest size, over all requests that are being read, as far as they have arrived."""

_OF_ONE = 4
"""Of these, as many of one client: whoever sends slowly is in nobody's way."""


class Bodies:
    """What has arrived of requests that no rank knows yet.

    Args:
        most: bytes of a body.
        seconds: in which it has to arrive.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._held: Counter[str] = Counter()

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
            self._held[who] -= len(body)
            self._held += Counter()  # whoever holds nothing is forgotten

    def _take(self, who: str, size: int) -> None:
        too_many = self._held.total() + size > _AT_ONCE * self.most
        if too_many or self._held[who] + size > _OF_ONE * self.most:
            raise Full
        self._held[who] += size
