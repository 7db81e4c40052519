"""A task: records, how they are asked, what may answer them, and what counts as good."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.metrics import check_metrics
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record


@dataclass(frozen=True)
class Wording:
    """A pattern with the answers that go with it (PET calls it a pattern-verbalizer pair)."""

    pattern: Pattern
    answer: Answer


@dataclass(frozen=True)
class Splits:
    """The records of a task.

    Attributes:
        train: learned from.
        dev: the best prompt is chosen on; may be empty.
        test: reported.
        unlabeled: records whose answers nobody looks at.
        learn: what a protocol makes of ``train`` to learn from; None for ``train`` itself.
        dropped: how many records were left out, by reason.
        notes: what a reader of results has to know, such as that test was held out of train.
    """

    train: tuple[Record, ...]
    dev: tuple[Record, ...]
    test: tuple[Record, ...]
    unlabeled: tuple[Record, ...] = ()
    learn: tuple[Record, ...] | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()

    @property
    def learned(self) -> tuple[Record, ...]:
        """The records that a prompt is trained on."""
        return self.train if self.learn is None else self.learn


@dataclass(frozen=True)
class Task:
    """One task of a job.

    Attributes:
        name: short, unique in a job.
        wording: how it is asked with tuned prompts.
        splits: its records.
        metrics: what is reported, by the names of ``metrics.METRICS``; the kind's own if empty.
        select_on: metrics that choose the best prompt on dev, the main one first.
        manual: hand-written wordings, by name; the first is the default one.
        max_length: most tokens of a row; None for what the model takes.
        label: a readable name.
        columns: column of the files by field, as ``Columns.parse`` takes it.

    Example:
        >>> Task("cb", Wording(Pattern.parse("{premise...} [P]*4 [Y]"), Words(...)), splits)
    """

    name: str
    wording: Wording
    splits: Splits
    metrics: tuple[str, ...] = ()
    select_on: tuple[str, ...] = ()
    manual: Mapping[str, Wording] = field(default_factory=dict)
    max_length: int | None = None
    label: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        answer = self.wording.answer
        if not self.metrics:
            object.__setattr__(self, "metrics", answer.reported)
        names = (*self.metrics, *self.select_on)
        check_metrics(names, answer.kind, answer.metrics, self.name)
        if not self.select_on:
            object.__setattr__(self, "select_on", self.metrics[:1])
        if not self.label:
            object.__setattr__(self, "label", self.name)

    def worded(self, pattern: Pattern, answer: Answer | None = None) -> "Task":
        """The same task asked another way."""
        return replace(self, wording=Wording(pattern, answer or self.wording.answer))

    def check(self) -> None:
        """Make sure that all records can be learned from and scored.

        Raises:
            UserError: a split is empty, or a record lacks a field or has an answer that is none;
                the message names file and line.
        """
        for name, records in (("training", self.splits.learned), ("test", self.splits.test)):
            if not records:
                raise UserError(
                    f"task {self.name}: there are no {name} records; shares for dev and test are "
                    "taken from those of train, which may be too few"
                )
        needed = self.wording.pattern.names
        for record in (*self.splits.learned, *self.splits.dev, *self.splits.test):
            lacks = [name for name in needed if name not in record.fields]
            if lacks:
                raise UserError(
                    f"{record.place}: no field {', '.join(map(repr, lacks))}, which "
                    f"the pattern {self.wording.pattern.text!r} needs; it has "
                    f"{', '.join(record.fields)}"
                )
            self.wording.answer.check(record)
        self._check_metrics()

    def _check_metrics(self) -> None:
        """Make sure that the metrics can be computed of these records."""
        names = {*self.metrics, *self.select_on}
        records = (*self.splits.dev, *self.splits.test)
        if "em_by_group" in names and not all(record.fields.get("group") for record in records):
            raise UserError(f"task {self.name}: em_by_group needs a field 'group' in each record")
        if "f1a" in names and not {record.answer for record in records} <= {"0", "1"}:
            raise UserError(f"task {self.name}: f1a is for the labels 0 and 1")
        for name, wording in self.manual.items():
            if wording.pattern.num_slots:
                raise UserError(
                    f"task {self.name}: the manual pattern {name!r} has slots; leave [P] out"
                )


def check_names(tasks: Sequence[Task]) -> None:
    """Make sure that all tasks of a job have names of their own.

    Raises:
        UserError: two have the same.
    """
    counts = Counter(task.name.lower() for task in tasks)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"task name {', '.join(twice)} is used twice; give each task its own")
