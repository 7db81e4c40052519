"""A record: a row of somebody's file as texts, which is all that a task is asked about."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """What a pattern is filled with.

    Attributes:
        id: as the file calls it, or the number of its row.
        fields: texts by name.
        answer: the right one; None where it is not known.
        task: which task the record belongs to, where a file holds several; "" elsewhere.
        source: where it was read, as "file:line", for messages.
    """

    id: str
    fields: Mapping[str, str]
    answer: str | None
    task: str = ""
    source: str = field(default="", compare=False)

    @property
    def place(self) -> str:
        """Where it was read, for messages: "file:line", or by its id."""
        return self.source or f"record {self.id}"


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The values of a JSON object as texts, without space around them.

    Numbers, true and false are written as in JSON, null is left out. What lies deeper has the names
    on the way joined by dots, with a number from 0 for the places of a list.

    Raises:
        ValueError: two of them have the same name.

    Example:
        >>> texts_of({"passage": {"text": "Rain."}, "choices": ["wet", "dry"], "label": 0})
        {'passage.text': 'Rain.', 'choices.0': 'wet', 'choices.1': 'dry', 'label': '0'}
    """
    # A queue, not recursion: files may be nested deeper than Python's stack.
    found: dict[str, str] = {}
    pending = deque([("", values)])
    while pending:
        path, value = pending.popleft()
        if isinstance(value, Mapping | list):
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            # In front of the rest, so that texts stay in the order of the file.
            pending.extendleft(
                reversed([(f"{path}.{key}" if path else str(key), one) for key, one in pairs])
            )
        elif value is not None:
            if path in found:
                raise ValueError(f"two fields are called {path!r}")
            found[path] = value.strip() if isinstance(value, str) else json.dumps(value)
    return found
