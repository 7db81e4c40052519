"""The paper's numbers and those measured here, side by side."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from ptune_scale.paper import plot
from ptune_scale.paper.records import Row
from ptune_scale.paper.request import Request
from ptune_scale.paper.results import MACRO, Measured
from ptune_scale.report import versions

Status = Literal["measured", "failed", "stopped", "not run"]

_TITLES = {"p_at_1": "P@1", MACRO: "P@1, macro", "P17": "P@1"}


@dataclass(frozen=True)
class Outcome:
    """What came of a row.

    Attributes:
        reason: why it is not measured.
    """

    row: Row
    status: Status
    measured: Measured = field(default_factory=Measured)
    reason: str = ""


def write(outcomes: Sequence[Outcome], request: Request, directory: Path) -> str:
    """Write paper.json, paper.md and paper.png; returns the text of paper.md.

    Raises:
        OSError: they cannot be written.
    """
    text = _page(outcomes, request)
    records = [_record(outcome, request) for outcome in outcomes]
    everything = {
        "model": request.model or None,
        "extra_flags": list(request.extra),
        "rows": records,
        "versions": versions(),
    }
    for name, content in (
        ("paper.json", json.dumps(everything, indent=1)),
        ("paper.md", f"{text}\n"),
    ):
        scratch = directory / f".{name}.partial"
        scratch.write_text(content)
        os.replace(scratch, directory / name)
    bars = {o.row.id: _headline(o) for o in outcomes if o.measured.values}
    plot.draw({name: pair for name, pair in bars.items() if pair}, request, directory / "paper.png")
    return text


def _record(outcome: Outcome, request: Request) -> dict[str, Any]:
    row = outcome.row
    return {
        "id": row.id,
        "table": row.table,
        "paper_model": row.model.name,
        "model": request.model_of(row),
        "is_papers_model": request.is_papers_model(),
        "method": row.method,
        "data": row.protocol.data,
        "paper": row.paper,
        "paper_deviation": row.deviation,
        "status": outcome.status,
        "reason": outcome.reason,
        "here": outcome.measured.values,
        "here_deviation": outcome.measured.deviation,
        "difference": _differences(outcome, request),
        "notes": [*row.notes, *outcome.measured.notes],
    }


def _differences(outcome: Outcome, request: Request) -> dict[str, float]:
    """Here minus the paper, where both are of one model."""
    if not request.is_papers_model():
        return {}
    here, paper = outcome.measured.values, outcome.row.paper
    return {name: here[name] - paper[name] for name in paper if name in here}


def _headline(outcome: Outcome) -> tuple[float, float] | None:
    """Means of the paper's numbers and of ours, over the metrics that both have."""
    paper, here = outcome.row.paper, outcome.measured.values
    both = [name for name in paper if name in here]
    if not both:
        return None
    return sum(paper[n] for n in both) / len(both), sum(here[n] for n in both) / len(both)


def _page(outcomes: Sequence[Outcome], request: Request) -> str:
    paragraphs = ["Numbers in percent. The paper is Liu et al. 2021, arXiv:2103.10385."]
    if not request.is_papers_model():
        paragraphs.append(
            f"**Measured on {request.model}: the paper's numbers are other models'**, so no "
            "differences are given."
        )
    if request.extra:
        paragraphs.append(f"**Settings changed for all jobs:** `{' '.join(request.extra)}`")
    for (table, title), group in groupby(outcomes, lambda o: (o.row.table, o.row.title)):
        of_table = list(group)
        paragraphs += [f"## Table {table}: {title}", *_section(of_table, request)]
    return "\n\n".join(paragraphs)


def _section(outcomes: Sequence[Outcome], request: Request) -> Iterator[str]:
    yield f"Data: {outcomes[0].row.protocol.data}."
    yield "\n".join(_table(outcomes, request))
    notes = _notes(outcomes)
    left = [f"- {o.row.id}: {o.status}: {o.reason}" for o in outcomes if o.status != "measured"]
    differs = [f"- {text}" for text in outcomes[0].row.protocol.differs]
    for title, lines in (
        ("Notes:", notes),
        ("Not measured:", left),
        ("What is not, or may not be, as the authors did it:", differs),
    ):
        if lines:
            yield "\n".join([title, "", *lines])


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of notes; one that holds for several rows is one line."""
    rows_of: dict[str, list[str]] = {}
    for outcome in outcomes:
        for note in (*outcome.row.notes, *outcome.measured.notes):
            rows_of.setdefault(note, []).append(outcome.row.id)
    measured = [outcome.row.id for outcome in outcomes if outcome.measured.values]
    return [
        f"- {note}"
        if names in (measured, [o.row.id for o in outcomes]) and len(names) > 1
        else f"- {', '.join(names)}: {note}"
        for note, names in rows_of.items()
    ]


def _table(outcomes: Iterable[Outcome], request: Request) -> Iterator[str]:
    outcomes = list(outcomes)
    metrics = list(dict.fromkeys(m for o in outcomes for m in (*o.row.paper, *o.measured.values)))
    numbers = [number for o in outcomes for number in o.row.paper.values()]
    digits = 1 if all(round(number, 1) == number for number in numbers) else 2
    yield _line(["row", "", *(_TITLES.get(metric, metric) for metric in metrics)])
    yield _line(["---"] * (2 + len(metrics)))
    for outcome in outcomes:
        row, measured = outcome.row, outcome.measured
        name = row.id.partition("/")[2]
        yield _line([name, "paper", *_cells(metrics, row.paper, row.deviation, f".{digits}f")])
        if measured.values:
            cells = _cells(metrics, measured.values, measured.deviation, f".{digits}f")
            yield _line(["", "here", *cells])
        if differences := _differences(outcome, request):
            yield _line(["", "difference", *_cells(metrics, differences, {}, f"+.{digits}f")])


def _cells(
    metrics: Iterable[str], values: Mapping[str, float], deviation: Mapping[str, float], form: str
) -> Iterator[str]:
    for metric in metrics:
        spread = f" ± {deviation[metric]:.1f}" if metric in deviation else ""
        yield f"{values[metric]:{form}}{spread}" if metric in values else ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
