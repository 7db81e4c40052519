"""One JSON object of a data file, read with the complaints that its author needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class BadRecord(ValueError):
    """A record that cannot be used; the message is the reason, without file and line."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Typed access to the fields of a JSON object.

    Attributes:
        values: the object.
        labelled: whether the split must have labels (those for training and scoring must).
        path: how the object is called in messages, such as "passage.", empty at the top.
    """

    values: Mapping[str, Any]
    labelled: bool = True
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
        value = self._get(name, dict, "an object")
        return Fields(value, self.labelled, f"{self.path}{name}.")

    def each(self, name: str) -> Iterator["Fields"]:
        """The objects of a list."""
        for index, value in enumerate(self._get(name, list, "a list")):
            if not isinstance(value, dict):
                raise BadRecord(f"'{self.path}{name}[{index}]' is not an object")
            yield Fields(value, self.labelled, f"{self.path}{name}[{index}].")

    def label(self, values: tuple[bool | int | str, ...]) -> int | None:
        """The place of the label among the values that a data file uses for it.

        Returns:
            None where the split need not have labels and this record has none.
        """
        value = self.values.get("label")
        if value is None and not self.labelled:
            return None
        for index, known in enumerate(values):
            if type(value) is type(known) and value == known:
                return index
        if value is None:
            raise BadRecord(f"'{self.path}label' is missing")
        known = ", ".join(map(repr, values))
        raise BadRecord(f"unknown label {value!r} in '{self.path}label'; known: {known}")
