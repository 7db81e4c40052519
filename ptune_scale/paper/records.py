"""The paper's rows, models and protocols, read from the files beside this one.

Liu et al. 2021, "GPT Understands, Too" (arXiv:2103.10385), Tables 1 to 6.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ptune_scale.errors import UserError
from ptune_scale.tokenization import Kind

JobName = Literal["lama", "superglue"]

METRICS: dict[str, tuple[str, ...]] = {
    "BoolQ": ("accuracy",),
    "CB": ("accuracy", "f1_macro"),
    "WiC": ("accuracy",),
    "RTE": ("accuracy",),
    "MultiRC": ("em", "f1a"),
    "WSC": ("accuracy",),
    "COPA": ("accuracy",),
}
"""What the paper reports of a SuperGLUE task, in the order of its columns."""

AVERAGE = "average"
"""Name of the mean over tasks, of which one with two metrics counts with their mean."""


@dataclass(frozen=True, kw_only=True)
class PaperModel:
    """A model of the paper.

    Attributes:
        hub: its Hugging Face id; "" where there is none.
        missing: why there is none.
    """

    name: str
    kind: Kind
    parameters: str
    hub: str = ""
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How rows are run.

    Attributes:
        data: what they are measured on.
        flags: of the job, without model, data and method.
        by_kind: further flags, by the kind of model.
        parts: flags of jobs that cover a row together; one without flags where one job does.
        vocabulary: LAMA: the file of the published data that lists the candidates.
        splits: SuperGLUE: files that each task must have.
        differs: where this is not, or may not be, what the authors did.
    """

    name: str
    job: JobName
    data: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    by_kind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parts: tuple[Mapping[str, Any], ...] = ({},)
    vocabulary: str = ""
    splits: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()

    @property
    def tasks(self) -> list[str]:
        """Of SuperGLUE, in the order of the parts."""
        return [task for part in self.parts for task in part.get("tasks", "").split(",") if task]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table.

    Attributes:
        id: tableN/MODEL/NAME.
        method: as the launcher's --method takes it.
        result: the entry of results.json that is compared.
        pattern: the manual pattern of a task that is compared, where it is not the method's mean.
        manual_prompt: asked instead of the relation's own.
        paper: by metric, in percent; a task that has two is split into "CB accuracy" and so on.
        deviation: of the same metrics, where the paper gives it.
        not_here: why no run can give this row; "" where one can.
        notes: what a reader of the numbers should know.
    """

    id: str
    table: int
    title: str
    protocol: Protocol
    model: PaperModel
    method: str
    result: str
    pattern: str = ""
    manual_prompt: str = ""
    paper: Mapping[str, float]
    deviation: Mapping[str, float] = field(default_factory=dict)
    not_here: str = ""
    notes: tuple[str, ...] = ()


@cache
def models() -> dict[str, PaperModel]:
    """By name."""
    return {name: PaperModel(name=name, **values) for name, values in _read("models").items()}


@cache
def protocols() -> dict[str, Protocol]:
    """By name."""
    tables = _read("protocols")
    return {name: Protocol(name=name, **_inherited(name, tables)) for name in tables}


@cache
def rows() -> dict[str, Row]:
    """By id, in the order of the tables.

    Raises:
        ValueError: two rows have one id.
    """
    found: dict[str, Row] = {}
    for row in _rows():
        if row.id in found:
            raise ValueError(f"two rows are called {row.id}")
        found[row.id] = row
    return found


def find_row(name: str) -> Row:
    """A row by its id.

    Raises:
        UserError: there is none; the message has the nearest ids.
    """
    known = rows()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        raise UserError(f"--row {name}: no such row; nearest: {', '.join(near)} (--list has all)")
    return known[name]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((files(__package__) / f"{name}.toml").read_text(encoding="utf-8"))


def _inherited(name: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(tables[name])
    base = _inherited(values.pop("base"), tables) if "base" in values else {}
    differs = (*base.get("differs", ()), *values.get("differs", ()))
    parts = tuple(values.get("parts", base.get("parts", ({},))))
    splits = tuple(values.get("splits", base.get("splits", ())))
    return {**base, **values, "differs": differs, "parts": parts, "splits": splits}


def _rows() -> Iterator[Row]:
    for group in _read("tables")["groups"]:
        for written in group["rows"]:
            values = dict(written)
            model, method = models()[values.pop("model")], values.pop("method")
            name = values.pop("name", method) + group.get("suffix", "")
            yield Row(
                id=f"table{group['table']}/{model.name}/{name}",
                table=group["table"],
                title=group["title"],
                protocol=protocols()[group["protocol"]],
                model=model,
                method=method,
                result=values.pop("result", method),
                paper=dict(_flat(values.pop("paper"))),
                deviation=dict(_flat(values.pop("deviation", {}))),
                notes=(*group.get("notes", ()), *values.pop("notes", ())),
                **values,
            )


def _flat(numbers: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Each metric by a name of its own; one that a task has alone goes by the task's."""
    for name, value in numbers.items():
        if isinstance(value, list):
            for metric, one in zip(METRICS[name], value, strict=True):
                yield f"{name} {metric}", one
        else:
            yield name, value
