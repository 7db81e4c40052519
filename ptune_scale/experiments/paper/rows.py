"""The rows of the paper's tables, read from ``tables.toml``."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ptune_scale.errors import UserError

METRICS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("BoolQ", "WiC", "RTE", "WSC", "COPA"), ("accuracy",)),
    "CB": ("accuracy", "f1_macro"),
    "MultiRC": ("em", "f1a"),
}
"""What the paper reports of a SuperGLUE task, in the order of its columns."""

AVERAGE = "average"
"""Name of the mean over tasks, of which one with two metrics counts with their mean."""


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """A row of a table: what the paper reports, and how it is run here.

    Attributes:
        id: tableN/MODEL/NAME.
        model, kind, hub, missing: the paper's model, its Hugging Face id, or why it has none.
        data: what it is measured on, in words; ``splits`` are the files that a task must have,
            ``vocabulary`` the published list of candidates for LAMA.
        flags: of the job, without model, data and method; ``by_kind`` has more, by kind of model.
        parts: flags of jobs that cover the row together.
        method, result: as the launcher's --method takes it, and its entry of results.json.
        prompt: the prompt that the row is about, where it is about one of several.
        paper, deviation: by metric, in percent; a task that has two is "CB accuracy" and so on.
        not_here: why no run can give this row; "" where one can.
        differs: where this is not, or may not be, what the authors did; ``notes`` tell more.
    """

    id: str
    table: int
    title: str
    model: str
    kind: Literal["causal", "masked"]
    hub: str = ""
    missing: str = ""
    launcher: Literal["lama", "superglue", "prompt_study"]
    data: str
    vocabulary: str = ""
    splits: list[str] = field(default_factory=list)
    flags: Mapping[str, Any]
    by_kind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parts: list[Mapping[str, Any]] = field(default_factory=lambda: [{}])
    method: str
    result: str
    prompt: str = ""
    paper: Mapping[str, float]
    deviation: Mapping[str, float]
    not_here: str = ""
    differs: list[str]
    notes: list[str]


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "tables.toml").read_text(encoding="utf-8"))


def models() -> list[str]:
    """Names of the paper's models."""
    return list(_read()["models"])


@cache
def rows() -> dict[str, PaperRow]:
    """By id, in the order of the tables."""
    found = [_row(group, dict(own)) for group in _read()["groups"] for own in group["rows"]]
    return {row.id: row for row in found}


def find_row(name: str) -> PaperRow:
    """A row by its id.

    Raises:
        UserError: there is none; the message has the nearest ids.
    """
    if name not in rows():
        near = difflib.get_close_matches(name, rows(), n=3, cutoff=0.0)
        raise UserError(f"--row {name}: no such row; nearest: {', '.join(near)} (--list has all)")
    return rows()[name]


def names_of(task: str) -> dict[str, str]:
    """A task's metrics, each with its name in a row: the task's where it has one metric alone."""
    metrics = METRICS[task]
    return {m: task if len(metrics) == 1 else f"{task} {m}" for m in metrics}


def _row(group: Mapping[str, Any], own: dict[str, Any]) -> PaperRow:
    name = own.pop("name", own["method"]) + group.get("suffix", "")
    own |= {
        "id": f"table{group['table']}/{own['model']}/{name}",
        "result": own.get("result", own["method"]),
        "paper": _flat(own["paper"]),
        "deviation": _flat(own.get("deviation", {})),
        "notes": [*group.get("notes", ()), *own.get("notes", ())],
    }
    protocol, model = _protocol(group["protocol"]), _read()["models"][own["model"]]
    return PaperRow(table=group["table"], title=group["title"], **protocol, **model, **own)


def _protocol(name: str) -> dict[str, Any]:
    own = dict(_read()["protocols"][name])
    base = _protocol(own.pop("base")) if "base" in own else {}
    return {**base, **own, "differs": [*base.get("differs", ()), *own["differs"]]}


def _flat(numbers: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: one
        for key, value in numbers.items()
        for name, one in (
            zip(names_of(key).values(), value, strict=True)
            if isinstance(value, list)
            else [(key, value)]
        )
    }
