"""A task from a file, or from a few flags: what users write to tune on data of their own.

A task file is TOML::

    name = "cb"
    pattern = "{premise...} Question: {hypothesis}? [P]*4 Answer: [Y]"
    max_length = 192
    metrics = ["accuracy", "macro_f1"]
    [data]                       # paths beside this file (.jsonl .json .csv .parquet), or
                                 # "hf:owner/name"
    train = "train.jsonl"
    dev = "dev32.jsonl"          # or a share to hold out of train: dev = 0.1
    test = "val.jsonl"
    [answer]                     # one of: words, choices, candidates, text
    field = "label"
    words = { entailment = "Yes", contradiction = "No", neutral = "Maybe" }
"""

import difflib
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.reading import read_text, read_toml, shown
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.answers.data import from_data
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words
from ptune_scale.task.columns import Columns
from ptune_scale.task.files import OnBadRecord, read_rows
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording

_DEV_SHARE = 0.1
_TEST_SHARE = 0.2
_MOST_LABELS = 50
_LONGEST_LABEL = 40
_KEYS = {"name", "label", "pattern", "manual", "max_length", "metrics", "select_on", "chat"}
_TABLES = {"data", "answer", "columns"}
_DATA = {"train", "dev", "test", "on_bad_record"}


@dataclass(frozen=True)
class Definition:
    """What a task file says, or flags in its place.

    Attributes:
        base: directory that paths begin from.
        where: what is read, for messages.
        is_typed: it is no file.
        name: of the task; the name of the training file if empty.
        pattern: how a record is asked; "" where a conversation is to be asked as it stands.
        train, dev, test: files, or for ``dev`` and ``test`` shares to hold out of ``train``.
        answer: the table of the kind of answer; empty to infer it from the data.
        answer_column: the column of the right answer; "" for the usual ones.
        chat: put the pattern into a user's message by the model's chat template.
        manual: hand-written patterns to compare with.
    """

    base: Path
    where: str
    pattern: str
    train: str
    dev: str | float = _DEV_SHARE
    test: str | float = _TEST_SHARE
    answer: Mapping[str, Any] = field(default_factory=dict)
    answer_column: str = ""
    name: str = ""
    label: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    select_on: tuple[str, ...] = ()
    manual: tuple[str, ...] = ()
    max_length: int | None = None
    chat: bool = False
    on_bad_record: OnBadRecord = "stop"
    is_typed: bool = False


@dataclass(frozen=True)
class Defined:
    """Tasks of a definition.

    Attributes:
        tasks: one, or one for each name in the column of task names.
        said: what was inferred, a line each.
        chat: the patterns are to be put into a chat template.
    """

    tasks: tuple[Task, ...]
    said: tuple[str, ...] = ()
    chat: bool = False


def read_definition(path: Path) -> Definition:
    """Read a task file.

    Raises:
        UserError: it cannot be read, or says what no task file says; the message names it.
    """
    table = read_toml(path, "task file")
    where = f"task file {path}"
    _check_keys(table, _KEYS | _TABLES, where)
    data = _table(table, "data", where)
    _check_keys(data, _DATA, f"{where}, [data]")
    answer = dict(_table(table, "answer", where))
    right = answer.pop("field", "")
    if isinstance(answer.get("candidates"), str):
        answer["candidates"] = words_of(path.parent / answer["candidates"])
    if "train" not in data:
        raise UserError(f"{where}: [data] has no train; name the file to learn from")
    for name in ("dev", "test"):
        value = data.get(name, 0.5)
        is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
        if not isinstance(value, str) and not is_share:
            raise UserError(
                f"{where}: {name} = {shown(value)} is neither a file nor a share below 1"
            )
    wanted: dict[str, type] = {
        "name": str,
        "label": str,
        "pattern": str,
        "max_length": int,
        "chat": bool,
    }
    for key, kind in wanted.items():
        value = table.get(key)
        if value is not None and (
            type(value) is not kind or (isinstance(value, int) and kind is int and value < 1)
        ):
            raise UserError(f"{where}: {key} = {shown(value)} is not as it should be")
    if data.get("on_bad_record", "stop") not in ("skip", "stop"):
        raise UserError(f"{where}: on_bad_record is neither 'skip' nor 'stop'")
    return Definition(
        base=path.parent,
        where=where,
        name=table.get("name", path.stem),
        label=table.get("label", ""),
        pattern=table.get("pattern", ""),
        train=_text(data["train"], where, "train"),
        dev=data.get("dev", _DEV_SHARE),
        test=data.get("test", _TEST_SHARE),
        answer=answer,
        answer_column=_text(right, where, "field"),
        columns=dict(_table(table, "columns", where)),
        metrics=_texts(table.get("metrics", []), where, "metrics"),
        select_on=_texts(table.get("select_on", []), where, "select_on"),
        manual=_texts(table.get("manual", []), where, "manual"),
        max_length=table.get("max_length"),
        chat=table.get("chat", False),
        on_bad_record=data.get("on_bad_record", "stop"),
    )


def define(definition: Definition) -> Defined:
    """Read the files of a definition, and make the tasks of it.

    Raises:
        UserError: a file, a record, the pattern or an answer is not as it should be.
    """
    try:
        return _define(definition)
    except UserError as error:
        if definition.is_typed or definition.where in str(error):
            raise
        raise UserError(f"{definition.where}: {error}") from error


def _define(definition: Definition) -> Defined:
    columns = Columns.parse({**definition.columns, **_answer_column(definition)})
    dropped: Counter[str] = Counter()
    pattern = _pattern(definition)

    def read(source: str | float) -> list[Record]:
        if not isinstance(source, str):
            return []
        rows = read_rows(
            source, definition.base, on_bad_record=definition.on_bad_record, dropped=dropped
        )
        records = []
        for number, row in enumerate(rows):
            try:
                record = columns.record(row, number, pattern.names)
                if record.answer is None:
                    raise UserError(f"{row.source}: {_no_answer(definition, record)}")
                records.append(record)
            except UserError:
                if definition.on_bad_record == "stop":
                    raise
                dropped["bad record"] += 1
        if not records:
            raise UserError(f"{source} holds no records")
        return records

    parts = [read(source) for source in (definition.train, definition.dev, definition.test)]
    names = sorted({record.task for part in parts for record in part})
    tasks: list[Task] = []
    said: list[str] = []
    for name in names:
        train, dev, test = ([r for r in part if r.task == name] for part in parts)
        # What was left out belongs to the file; one of its tasks tells.
        left_out = Counter() if tasks else dropped
        task, inferred = _task(definition, pattern, name, train, dev, test, left_out)
        tasks.append(task)
        said += inferred
    return Defined(tuple(tasks), tuple(said), definition.chat)


def _task(
    definition: Definition,
    pattern: Pattern,
    task_name: str,
    train: Sequence[Record],
    dev: Sequence[Record],
    test: Sequence[Record],
    dropped: Counter[str],
) -> tuple[Task, list[str]]:
    name = task_name or definition.name or Path(definition.train).stem
    notes = []
    if not isinstance(definition.test, str):
        train, test = hold_out(train, float(definition.test), pattern.names)
        notes.append(f"{name}: {len(test)} records were held out of train to be tested on")
    if not isinstance(definition.dev, str):
        train, dev = hold_out(train, float(definition.dev), pattern.names)
    seen = {tuple(record.fields[n] for n in pattern.names) for record in train}
    both = sum(tuple(record.fields[n] for n in pattern.names) in seen for record in test)
    if both:
        notes.append(f"{name}: {both} of {len(test)} test records have the texts of a training one")
    for column in pattern.names:
        blank = sum(not record.fields[column].strip() for record in (*train, *dev, *test))
        if blank:
            notes.append(f"{name}: {column!r} is empty in {blank} records, used as they are")
    turns = sum(bool(record.fields.get("history")) for record in (*train, *dev, *test))
    if turns and "history" not in pattern.names:
        notes.append(
            f"{name}: {turns} conversations have earlier turns that the pattern leaves out; write "
            "{history...} into it to ask with them"
        )
    said = []
    if definition.answer:
        answer = from_data(definition.answer, definition.where)
    else:
        answer, line = infer_answer([*train, *dev, *test])
        said.append(f"{name}: {line}")
    splits = Splits(tuple(train), tuple(dev), tuple(test), dropped=dropped, notes=tuple(notes))
    task = Task(
        name,
        Wording(pattern, answer),
        splits,
        definition.metrics,
        definition.select_on,
        {text: Wording(Pattern.parse(text), answer) for text in definition.manual},
        definition.max_length,
        definition.label,
        {**definition.columns, **_answer_column(definition)},
    )
    task.check()
    return task, said


def _pattern(definition: Definition) -> Pattern:
    text = definition.pattern
    if definition.chat and "[Y]" not in text:
        # The answer stands behind the message; the template says where.
        return Pattern.parse(f"{text or '{user...} [P]*4'} [Y]")
    if not text:
        raise UserError(
            f"{definition.where}: no pattern; write one such as '{{text...}} [P]*4 [Y]'"
        )
    return Pattern.parse(text)


def _no_answer(definition: Definition, record: Record) -> str:
    column = definition.answer_column
    columns = ", ".join(record.fields)
    if not column:
        return f"no answer; name its column by 'field' in [answer], or by --answer: {columns}"
    if column not in record.fields:
        close = difflib.get_close_matches(column, record.fields, 1)
        advice = f" (did you mean {close[0]!r}?)" if close else ""
        return f"no column {column!r} for the answer{advice}; there are {columns}"
    return (
        f"the answer, column {column!r}, is empty; fill it in, or go on without such records by "
        "--on_bad_record skip"
    )


def _answer_column(definition: Definition) -> dict[str, str]:
    return {"answer": definition.answer_column} if definition.answer_column else {}


def infer_answer(records: Sequence[Record]) -> tuple[Answer, str]:
    """The kind of answer that records seem to have, and a line that says so.

    Few, short answers that occur again and again are labels, which stand for themselves; all others
    are texts.
    """
    counts = Counter(record.answer or "" for record in records)
    longest = max(map(len, counts), default=0)
    again = len(counts) * 2 <= len(records)
    if 2 <= len(counts) <= _MOST_LABELS and longest <= _LONGEST_LABEL and again:
        labels = sorted(counts)
        words = Words({label: (label,) for label in labels})
        return words, f"answers are {len(labels)} labels, each its own word: {', '.join(labels)}"
    # A letter may be a token of its own; answers end by themselves.
    tokens = max(8, min(256, longest))
    return Text(max_tokens=tokens, cut=True), (
        f"answers are texts ({len(counts)} different ones), of at most {tokens} tokens; longer "
        "ones are cut"
    )


def hold_out(
    records: Sequence[Record], share: float, names: Collection[str]
) -> tuple[list[Record], list[Record]]:
    """Split off a share, chosen by a hash of texts, so that records of the same stay together.

    Args:
        names: the fields that count; all if empty.
    """

    def position(record: Record) -> bytes:
        asked = {k: v for k, v in record.fields.items() if not names or k in names}
        content = "\x00".join(f"{k}\x01{v}" for k, v in sorted(asked.items()))
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()

    count = round(len(records) * share)
    if not share:
        return list(records), []
    order = sorted(range(len(records)), key=lambda i: position(records[i]))
    chosen = set(order[: max(1, count)])
    # Records that are the same texts must not be on both sides.
    taken = {position(records[i]) for i in chosen}
    out = {i for i in range(len(records)) if position(records[i]) in taken}
    kept = [record for i, record in enumerate(records) if i not in out]
    return kept, [records[i] for i in sorted(out)]


def words_of(path: Path) -> list[str]:
    """The words of a file, one a line."""
    text = read_text(path, "candidate file")
    words = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not words:
        raise UserError(f"candidate file {path} holds no words")
    return words


def _table(table: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {name} is no table; write [{name}]")
    return value


def _check_keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise UserError(
            f"{where}: nothing is called {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )


def _text(value: Any, where: str, name: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} = {shown(value)} is no text")
    return value


def _texts(value: Any, where: str, name: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise UserError(f"{where}: {name} = {shown(value)} is no list of texts")
    return tuple(values)
