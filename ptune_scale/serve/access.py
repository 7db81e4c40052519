"""Who may ask a server, and how much."""

import hashlib
import hmac
import math
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.flags import unknown_name
from ptune_scale.reading import read_toml

_SHORTEST = 16
_MEANT = {str: "a text", int: "a whole number, 1 or more"}
_KNOWN: dict[str, type] = {"token": str, "requests_per_minute": int, "request_tokens": int}


@dataclass(frozen=True)
class Person:
    """Somebody who may ask.

    Attributes:
        name: as the file has it.
        digest: SHA-256 of the token, which is not kept.
        requests_per_minute, request_tokens: most; None for the server's own limits.
    """

    name: str
    digest: bytes = field(repr=False)
    requests_per_minute: int | None = None
    request_tokens: int | None = None


@dataclass(frozen=True)
class Caller:
    """Whoever sends a request.

    Attributes:
        person: with whose token; what is counted is counted for them.
        who: whose it is, as far as fairness goes, and what is kept for later.
        job: which of theirs.
    """

    person: Person
    who: str
    job: str


ANYBODY = Person("anybody", b"")
"""Where everybody may ask."""


def read_people(path: Path) -> tuple[Person, ...]:
    """Who may ask, from a TOML file with a table for each.

    Raises:
        UserError: it cannot be read, is open to others, or is not as it should be.
    """
    people = []
    content = read_toml(path, "--tokens")
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        raise UserError(f"--tokens {path}: others may read it; chmod 600 {path}")
    for name, table in content.items():
        where = f"--tokens {path}: [{name}]"
        if not isinstance(table, dict):
            raise UserError(f"--tokens {path}: write a table for each client, as [alice]")
        for key, value in table.items():
            if key not in _KNOWN:
                raise UserError(f"{where}: {unknown_name(key, _KNOWN)}")
            if type(value) is not _KNOWN[key] or (type(value) is int and value < 1):
                raise UserError(f"{where}: {key} must be {_MEANT[_KNOWN[key]]}")
        token = table.get("token", "")
        fits = token.isascii() and token.isprintable() and " " not in token
        if not fits or len(token) < _SHORTEST:
            raise UserError(f"{where}: token must be {_SHORTEST} or more letters without spaces")
        rest: dict[str, Any] = {key: value for key, value in table.items() if key != "token"}
        people.append(Person(name, _digest(token), **rest))
    if not people:
        raise UserError(f"--tokens {path} names nobody; write a table for each client, as [alice]")
    if len({person.digest for person in people}) < len(people):
        raise UserError(f"--tokens {path}: two clients have the same token")
    return tuple(people)


class Access:
    """Tells who asks, and whether they asked too often.

    Args:
        people: empty where everybody may ask.
        clock: seconds.
    """

    def __init__(
        self, people: Sequence[Person], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.people = people
        self._clock = clock
        self._buckets = {
            person.name: _Bucket(person.requests_per_minute, clock())
            for person in people
            if person.requests_per_minute is not None
        }

    def who(self, authorization: str | None) -> Person | None:
        """Whose token a header brings; None for nobody's.

        All tokens are compared, each in the same time, so that time tells nothing of them.
        """
        kind, _, token = (authorization or "").partition(" ")
        digest, found = _digest(token.strip()), None
        for person in self.people:
            if hmac.compare_digest(person.digest, digest):
                found = person
        return found if kind.lower() == "bearer" else None

    def caller(self, person: Person, client: str) -> Caller:
        """Who sends a request.

        Args:
            client: what it calls itself; where nobody has a name, they are told apart by it.
        """
        if person is ANYBODY:
            return Caller(person, client, client)
        return Caller(person, person.name, f"{person.name} {client}")

    def seconds_to_wait(self, person: Person) -> int:
        """0 if another request may come now, and it is counted; else in how many seconds."""
        bucket = self._buckets.get(person.name)
        return 0 if bucket is None else bucket.take(self._clock())


class _Bucket:
    """Holds a minute's requests, and fills evenly."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self.left = float(per_minute)
        self.since = now

    def take(self, now: float) -> int:
        filled = self.left + (now - self.since) * self.per_minute / 60
        self.left, self.since = min(float(self.per_minute), filled), now
        if self.left < 1:
            return math.ceil((1 - self.left) * 60 / self.per_minute)
        self.left -= 1
        return 0


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
