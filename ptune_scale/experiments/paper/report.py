"""The paper's numbers and those measured here, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

from ptune_scale.experiments.paper.jobs import PaperRequest
from ptune_scale.experiments.paper.results import RowResult
from ptune_scale.experiments.paper.rows import PaperRow
from ptune_scale.files import write_file, write_json, write_text


@dataclass(frozen=True)
class RowOutcome:
    """What came of a row; ``reason`` says why it is not measured."""

    row: PaperRow
    status: Literal["measured", "failed", "stopped", "not run"]
    result: RowResult = field(default_factory=RowResult)
    reason: str = ""

    @property
    def both(self) -> dict[str, tuple[float, float]]:
        """By metric, the paper's number and ours, where there are both."""
        here = self.result.values
        return {n: (paper, here[n]) for n, paper in self.row.paper.items() if n in here}


def write(outcomes: Sequence[RowOutcome], request: PaperRequest, directory: Path) -> str:
    """Write paper.json, paper.md and paper.png; returns the text of paper.md.

    Raises:
        UserError: they cannot be written.
    """
    model = request.config.model
    text = "\n\n".join(_page(outcomes, request))
    rows = [
        {
            **asdict(outcome.row),
            "run_on": request.model_of(outcome.row),
            "is_papers_model": not model,
            "status": outcome.status,
            "reason": outcome.reason,
            "here": outcome.result.values,
            "here_deviation": outcome.result.deviation,
            "difference": {} if model else {n: b - a for n, (a, b) in outcome.both.items()},
            "notes": [*outcome.row.notes, *outcome.result.notes],
        }
        for outcome in outcomes
    ]
    everything = {"model": model or None, "extra_flags": list(request.extra), "rows": rows}
    write_json(directory / "paper.json", everything)
    write_text(directory / "paper.md", f"{text}\n")
    if measured := [outcome for outcome in outcomes if outcome.both]:
        write_file(directory / "paper.png", lambda path: _plot(measured, model, path))
    return text


def _page(outcomes: Sequence[RowOutcome], request: PaperRequest) -> Iterator[str]:
    yield "Numbers in percent. The paper is Liu et al. 2021, arXiv:2103.10385."
    if model := request.config.model:
        yield (
            f"**Measured on {model}: the paper's numbers are other models'**, so no "
            "differences are given."
        )
    if request.extra:
        yield f"**Settings changed for all jobs:** `{' '.join(request.extra)}`"
    for (table, title), group in groupby(outcomes, lambda o: (o.row.table, o.row.title)):
        of_table = list(group)
        first = of_table[0].row
        yield f"## Table {table}: {title}\n\nData: {first.data}."
        head = ["| row | metric | paper | here | difference |", "|---|---|---|---|---|"]
        yield "\n".join([*head, *(line for o in of_table for line in _lines(o, not model))])
        left_out = [f"{o.row.id}: {o.status}: {o.reason}" for o in of_table if o.reason]
        for title, notes in (
            ("Notes:", _notes(of_table)),
            ("Not measured:", left_out),
            ("What is not, or may not be, as the authors did it:", first.differs),
        ):
            if notes:
                yield "\n".join([title, "", *(f"- {note}" for note in notes)])


def _lines(outcome: RowOutcome, comparable: bool) -> Iterator[str]:
    row, result = outcome.row, outcome.result
    for name in dict.fromkeys([*row.paper, *result.values]) or [""]:
        cells = [row.id.partition("/")[2], name]
        for values, spread in ((row.paper, row.deviation), (result.values, result.deviation)):
            cells.append(f"{values[name]:.2f}" if name in values else "")
            cells[-1] += f" ± {spread[name]:.1f}" if name in spread else ""
        paper, here = outcome.both.get(name, (0.0, 0.0))
        cells.append(f"{here - paper:+.2f}" if comparable and name in outcome.both else "")
        yield f"| {' | '.join(cells)} |"


def _notes(outcomes: Sequence[RowOutcome]) -> list[str]:
    """Notes, each with the rows that it is about; one that is about all has none."""
    rows_of: dict[str, list[str]] = {}
    for outcome in outcomes:
        for note in (*outcome.row.notes, *outcome.result.notes):
            rows_of.setdefault(note, []).append(outcome.row.id)
    return [
        note if 1 < len(names) == len(outcomes) else f"{', '.join(names)}: {note}"
        for note, names in rows_of.items()
    ]


def _plot(outcomes: Sequence[RowOutcome], model: str, path: Path) -> None:
    """Bars of both numbers: means over the metrics that both have."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.45 * len(outcomes) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    for place, label in enumerate(("paper", f"here, {model or 'the same model'}")):
        means = [sum(pair[place] for pair in o.both.values()) / len(o.both) for o in outcomes]
        axes.barh([i + 0.4 * (place - 0.5) for i in range(len(means))], means, 0.4, label=label)
    axes.set_yticks(range(len(outcomes)), [o.row.id for o in outcomes])
    axes.invert_yaxis()
    axes.set_xlabel("% (mean of the metrics that both have)")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
