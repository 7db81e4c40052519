"""Work on requests beside the thread that listens, so that a large one is in nobody's way."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Made = TypeVar("Made")

_AT_ONCE = 2


class Workers:
    """A few threads, of which each client has at most one: who sends a lot waits for itself."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, "worker")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, who: str, work: Callable[..., Made], *given: Any) -> Made:
        """What the work comes to, when it is this client's turn."""
        turn = self._turns.setdefault(who, asyncio.Lock())
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
