"""One JSON object of a data file, read with the complaints that its author needs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class BadRecord(ValueError):
    """A record that cannot be used; the message is the reason, without file and line."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Typed access to the fields of a JSON object.

    Attributes:
        values: the object.
        path: how the object is called in messages, such as "passage.", empty at the top.
    """

    values: Mapping[str, Any]
    path: str = ""

    def _get(self, name: str, kind: type, called: str) -> Any:
        value = self.values.get(name)
        # A JSON true is an int to Python.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadRecord(f"'{self.path}{name}' is missing or not {called}")
        return value

    def text(self, name: str, *, may_be_empty: bool = False) -> str:
        """A string, stripped."""
        value = self._get(name, str, "a string").strip()
        if not value and not may_be_empty:
            raise BadRecord(f"'{self.path}{name}' is empty")
        return value

    def integer(self, name: str) -> int:
        """An integer; a string of digits counts as one, as some releases write ``idx``."""
        value = self.values.get(name)
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        return self._get(name, int, "an integer")

    def nested(self, name: str) -> "Fields":
        """An object inside this one."""
        return Fields(self._get(name, dict, "an object"), f"{self.path}{name}.")

    def each(self, name: str) -> Iterator["Fields"]:
        """The objects of a list."""
        for index, value in enumerate(self._get(name, list, "a list")):
            if not isinstance(value, dict):
                raise BadRecord(f"'{self.path}{name}[{index}]' is not an object")
            yield Fields(value, f"{self.path}{name}[{index}].")


def flat(
    *names: str, check: Callable[[Fields], None] = lambda fields: None
) -> Callable[[Fields], Iterator[tuple[str, dict[str, str], Fields]]]:
    """Reads an object that is one record, with these texts.

    Args:
        check: raises ``BadRecord`` where something else is wrong with the object.
    """

    def read(fields: Fields) -> Iterator[tuple[str, dict[str, str], Fields]]:
        texts = {name: fields.text(name) for name in names}
        check(fields)
        yield str(fields.integer("idx")), texts, fields

    return read
