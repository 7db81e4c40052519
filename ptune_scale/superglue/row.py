"""A token row of a record, and the rows of a split."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence of T tokens with K targets.

    Attributes:
        record: index of its record among those that were encoded.
        label: index of the record's label in the task's labels, None if it is not known.
        ids: T token ids; a placeholder id stands at prompt slots.
        slots: slot number at each of the T positions, NO_SLOT elsewhere.
        targets: K positions to read.
        answers: K token ids that should be predicted there.
        answered: K marks, False where there is no such token: the choice is shorter than the
            longest, or the label is not known.
        decode: how many tokens the model has to find by itself to be scored; 0 if none.
        cut: how many tokens of the record's texts were left out to fit the length.
    """

    record: int
    label: int | None
    ids: tuple[int, ...]
    slots: tuple[int, ...]
    targets: tuple[int, ...]
    answers: tuple[int, ...]
    answered: tuple[bool, ...]
    decode: int
    cut: int


@dataclass(frozen=True)
class Rows:
    """The rows of some records, ``group_size`` of each record behind one another."""

    rows: tuple[Row, ...]
    group_size: int

    @property
    def cut_tokens(self) -> int:
        """Tokens that were left out, counted once a record."""
        return sum(row.cut for row in self.rows[:: self.group_size])

    @property
    def cut_records(self) -> int:
        """Records that were shortened."""
        return sum(row.cut > 0 for row in self.rows[:: self.group_size])
