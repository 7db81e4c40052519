"""Rows as people have them, to records: which column is what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ptune_scale.errors import UserError
from ptune_scale.task.chat import conversation_fields
from ptune_scale.task.files import RawRow
from ptune_scale.task.record import Record, texts_of

USUAL_ANSWERS = ("label", "output", "completion", "assistant")
"""What people call the right answer; the last is that of a conversation."""

_IDS = ("id", "idx")
_TASK = "taskname"
_MESSAGES = "messages"
_MOST_LISTED = 30


@dataclass(frozen=True)
class Columns:
    """Which column of a file is what. A field that is not named here is the column of its name.

    A column "messages" of conversations, lists of {"role", "content"}, gives fields too: see
    ``conversation_fields``.

    Attributes:
        fields: column by the name of a field. A column may lie deeper: "a.b", "a.0".
        id: of the record's id; "" for "id" or "idx" where there is one, else the row's number.
        answer: of the right answer; "" for the first of USUAL_ANSWERS that there is.
        task: of the task's name, where a file holds several; "" for "taskname" where there is one.

    Example:
        >>> columns = Columns.parse({"text": "body", "answer": "category"})
        >>> record = columns.record(RawRow({"body": "No sound", "category": "audio"}, "a.csv:2"), 0)
        >>> record.fields["text"], record.answer, record.id
        ('No sound', 'audio', '0')
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    answer: str = ""
    task: str = ""

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Self:
        """From names and their columns: "id", "answer" and "task" as above, all others are fields.

        Raises:
            UserError: what should be a column's name is none.
        """
        for name, column in table.items():
            if not isinstance(column, str) or not column:
                raise UserError(f"columns: {name} = {column!r} is not the name of a column")
        fields = dict(table)
        special = {name: fields.pop(name, "") for name in ("id", "answer", "task")}
        return cls(fields, **special)

    def record(self, row: RawRow, number: int, needed: Iterable[str] = ()) -> Record:
        """The record of a row. A blank answer is none.

        Args:
            number: of the row, from 0.
            needed: fields that it must have.

        Raises:
            UserError: "file:line: no field ...; it has ...", or why the row is no record.
        """
        try:
            fields = self._named(row.values)
        except ValueError as error:
            raise UserError(f"{row.source}: bad record: {error}") from error
        for name in (*needed, *filter(None, (self.id, self.task))):
            if name not in fields:
                listed = [*list(fields)[:_MOST_LISTED], *["..."] * (len(fields) > _MOST_LISTED)]
                # A table of one column whose name holds what other tables separate theirs by.
                sign = next((s for s in ";\t|" if len(fields) == 1 and s in listed[0]), "")
                advice = f"; its columns are separated by {sign!r}, not by commas" if sign else ""
                raise UserError(
                    f"{row.source}: no field {self.fields.get(name, name)!r}; "
                    f"it has {', '.join(listed) or 'none'}{advice}"
                )
        answers = [self.answer] if self.answer else USUAL_ANSWERS
        ids = [self.id] if self.id else _IDS
        return Record(
            _first(fields, ids) or str(number),
            fields,
            # The answer's column may be called as a field that stands for another column.
            _first(texts_of(row.values), answers) or _first(fields, answers) or None,
            _first(fields, [self.task or _TASK]),
            row.source,
        )

    def _named(self, values: Mapping[str, Any]) -> dict[str, str]:
        """All texts of a row, by their columns and by their names."""
        texts = texts_of(values)
        messages = values.get(self.fields.get(_MESSAGES, _MESSAGES))
        if isinstance(messages, list) and all(
            isinstance(turn, dict) and "role" in turn for turn in messages
        ):
            texts = conversation_fields(messages) | texts
        # A name never means another column that happens to be called so.
        fields = {name: text for name, text in texts.items() if name not in self.fields}
        for name, column in self.fields.items():
            for place, text in texts.items():
                if place == column or place.startswith(f"{column}."):
                    fields[name + place[len(column) :]] = text
        return fields


def _first(fields: Mapping[str, str], names: Iterable[str]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")
