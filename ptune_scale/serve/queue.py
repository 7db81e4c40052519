"""What waits to be computed: fair between those who ask, and never without end."""

import threading
import time
from collections import deque
from collections.abc import Callable

from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.serve.ticket import Piece, Ticket

_RECENT_SECONDS = 10.0
"""Whoever has asked, or got an answer, within them is expected again."""


_CLIENTS = 4
"""So many with large requests have room for them at once, where each has more than one."""


class Full(Exception):
    """Nothing more may wait now."""


class Draining(Exception):
    """The server ends, and takes nothing more."""


class Queue:
    """Pieces of requests; the front puts them in, the main rank takes them out.

    Of those who wait, whoever has got the least is served first, and a pass is filled up from all
    of them in that order: a request that is cut into many pieces holds nobody up. Somebody who
    comes anew begins at what whoever was served last has got: many who come and go cannot stay
    before somebody who waits.

    Args:
        most, most_bytes: requests that may wait, and what they may hold.
        share: of these, how many may be of one client.
        pass_tokens, pass_targets: most of a pass.
        patience: seconds that a piece waits for company where nothing else is to do, and others
            are expected: a job by itself does not wait.
    """

    def __init__(
        self,
        most: int,
        share: int,
        pass_tokens: int,
        pass_targets: int,
        patience: float,
        most_bytes: int = 1 << 30,
    ) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.share = share
        self.pass_tokens = pass_tokens
        self.pass_targets = pass_targets
        self.patience = patience
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Piece]] = {}
        self._got: dict[str, int] = {}
        self._level = 0
        self._open: list[Ticket] = []
        self._seen: dict[str, float] = {}
        self._ends_at: float | None = None

    def __len__(self) -> int:
        """Requests that wait or are computed."""
        with self._changed:
            self._forget_done()
            return len(self._open)

    def put(self, ticket: Ticket) -> None:
        """Let a request wait.

        Raises:
            Draining: the queue is closed.
            Full: too many do already.
        """
        num_bytes = ticket.num_bytes  # counted while nobody waits for it
        with self._changed:
            self._forget_done()
            own = [each.num_bytes for each in self._open if each.who == ticket.who]
            held = sum(each.num_bytes for each in self._open)
            if self._ends_at is not None:
                raise Draining
            if len(self._open) >= self.most or len(own) >= self.share:
                raise Full
            if self._open and held + num_bytes > self.most_bytes:
                raise Full
            if own and sum(own) + num_bytes > self.most_bytes / _CLIENTS:
                raise Full
            if not self._waiting.get(ticket.who):
                self._got[ticket.who] = max(self._got.get(ticket.who, 0), self._level)
            self._see(ticket)
            self._open.append(ticket)
            self._waiting.setdefault(ticket.who, deque()).extend(ticket.pieces)
            self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Take nothing more; what is there is finished if it can be in so many seconds."""
        with self._changed:
            self._ends_at = time.monotonic() + seconds
            self._changed.notify_all()

    def take(self, timeout: float) -> list[Piece] | None:
        """Pieces for a pass; none where none came in time, None where none will come any more."""
        with self._changed:
            self._changed.wait_for(self._has_work, timeout)
            if self._ends_at is not None and (
                not self._waiting or time.monotonic() >= self._ends_at
            ):
                return None
            if self._waiting and self._ends_at is None:
                self._changed.wait_for(self._is_company_here, self.patience)
            return self._choose()

    def give_up_all(self, error: Exception) -> int:
        """Answer all that is still open with an error; how many these are."""
        with self._changed:
            self._forget_done()
            for ticket in self._open:
                ticket.fail(error)
            return len(self._open)

    def _has_work(self) -> bool:
        self._forget_given_up()
        return bool(self._waiting) or self._ends_at is not None

    def _is_company_here(self) -> bool:
        """A pass is full, or all who are expected wait."""
        pieces = [piece for pieces in self._waiting.values() for piece in pieces]
        is_full = sum(piece.cost for piece in pieces) >= self.pass_tokens
        self._forget_done()
        recent = time.monotonic() - _RECENT_SECONDS
        expected = {job for job, seen in self._seen.items() if seen > recent}
        is_here = expected <= {piece.ticket.caller.job for piece in pieces}
        return is_full or is_here or self._ends_at is not None

    def _see(self, ticket: Ticket) -> None:
        now = time.monotonic()
        self._seen = {j: seen for j, seen in self._seen.items() if now - seen < _RECENT_SECONDS}
        self._seen[ticket.caller.job] = now

    def _forget_done(self) -> None:
        for ticket in self._open:
            if not ticket.is_wanted:
                self._see(ticket)
        self._open = [ticket for ticket in self._open if ticket.is_wanted]

    def _forget_given_up(self) -> None:
        for who, pieces in list(self._waiting.items()):
            wanted = deque(piece for piece in pieces if piece.ticket.is_wanted)
            self._waiting[who] = wanted
            if not wanted:
                del self._waiting[who]
        # Who has got no more than the level would begin there anyway.
        for who in [who for who, got in self._got.items() if got <= self._level]:
            if who not in self._waiting:
                del self._got[who]

    def _choose(self) -> list[Piece]:
        self._forget_given_up()
        chosen: list[Piece] = []

        def fits(piece: Piece) -> bool:
            together = [*chosen, piece]
            rows = sum(len(each.rows) for each in together)
            prompts = [each.request.prompts for each in together]
            slots = sum(map(len, prompts)) * max(each.shape[1] for each in prompts)
            return not chosen or (
                piece.key == chosen[0].key
                and rows * max(each.longest for each in together) <= self.pass_tokens
                and slots <= self.pass_tokens
                and rows * max(each.num_targets for each in together) <= self.pass_targets
                # Each row is as wide as that of which the most is found.
                and rows * max(each.num_values for each in together) <= Limits.values
            )

        while (who := self._next(fits)) is not None:
            piece = self._waiting[who].popleft()
            self._got[who] += piece.cost
            if not chosen:  # the others are in the pass because they fit
                self._level = self._got[who]
            chosen.append(piece)
            if not self._waiting[who]:
                del self._waiting[who]
        return chosen

    def _next(self, fits: Callable[[Piece], bool]) -> str | None:
        """Whoever has got the least of those whose first piece fits."""
        able = [who for who, pieces in self._waiting.items() if fits(pieces[0])]
        return min(able, key=self._got.__getitem__, default=None)
