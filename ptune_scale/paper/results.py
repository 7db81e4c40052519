"""The numbers of a row, in percent, from the results.json files of the jobs that cover it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale.paper.records import AVERAGE, METRICS, Row

MACRO = "macro p_at_1"
"""LAMA: mean over relations; the paper's number may be either."""


@dataclass
class Measured:
    """What was measured for a row.

    Attributes:
        values: by metric, named as those of the paper's row, and ``MACRO``.
        deviation: of the same, over repetitions or prompts; 0 is left out.
        notes: what a reader of the numbers should know.
    """

    values: dict[str, float] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(row: Row, directories: Iterable[Path]) -> Measured:
    """Read what finished jobs left behind.

    Raises:
        KeyError: they do not hold the row.
    """
    measured = Measured()
    for directory in directories:
        results = json.loads((directory / "results.json").read_text())
        if row.protocol.job == "lama":
            _read_facts(row, results, measured)
        else:
            _read_tasks(row, results["tasks"], measured)
    whole = [_mean_of_task(task, measured.values) for task in METRICS]
    if AVERAGE in row.paper and None not in whole:
        measured.values[AVERAGE] = sum(whole) / len(whole)
    return measured


def _read_facts(row: Row, results: Mapping[str, Any], measured: Measured) -> None:
    scores = results["methods"][row.result]
    relations = scores["relations"]
    if set(row.paper) <= set(relations) and row.paper:
        measured.values |= {name: 100 * relations[name]["p_at_1"] for name in row.paper}
    else:
        measured.values |= {
            "p_at_1": 100 * scores["micro"]["p_at_1"],
            MACRO: 100 * scores["macro"]["p_at_1"],
        }
    measured.notes.append(
        f"{scores['micro']['facts']} test facts, relations: {len(relations)}, answers among "
        f"{results['candidates']}"
    )
    if results["candidates"] != row.protocol.vocabulary:
        measured.notes.append(
            f"the data has no {row.protocol.vocabulary}: facts and candidates are "
            "those that it has, which may not be the paper's"
        )
    beside = {name: s for name, s in results["methods"].items() if name.startswith("lpaqa_")}
    if row.method != "lpaqa":
        beside = {}
    if row.method == "manual":
        beside = {n: s for n, s in results["controls"].items() if n == "manual_trailing_space"}
    for name, other in beside.items():
        if name != row.result:
            micro, macro = (100 * other[kind]["p_at_1"] for kind in ("micro", "macro"))
            measured.notes.append(f"{name}: P@1 {micro:.1f}, macro {macro:.1f}")


def _read_tasks(row: Row, tasks: Mapping[str, Any], measured: Measured) -> None:
    for name, task in tasks.items():
        scores = task["methods"][row.result]
        if row.pattern:
            scores = _of_pattern(scores["trials"], row.pattern)
        for metric in METRICS[name]:
            key = name if len(METRICS[name]) == 1 else f"{name} {metric}"
            measured.values[key] = 100 * scores["test"][metric]
            if deviation := scores["deviation"].get(metric):
                measured.deviation[key] = 100 * deviation
        if f"{name} dev32" in row.paper:
            measured.values[f"{name} dev32"] = 100 * scores["dev"]["accuracy"]
        if task["test_split"] == "dev32":
            measured.notes.append(
                f"{name} has no val in this data: scored on dev32, which chose the step too"
            )


def _of_pattern(trials: Mapping[str, Any], pattern: str) -> dict[str, dict[str, float]]:
    """Means over the repetitions with one manual pattern.

    Raises:
        KeyError: there are none.
    """
    found = [trial for name, trial in trials.items() if pattern in name.split("-")]
    if not found:
        raise KeyError(pattern)
    means = {
        part: {m: sum(t[part][m] for t in found) / len(found) for m in found[0][part]}
        for part in ("dev", "test")
    }
    return {**means, "deviation": {}}


def _mean_of_task(task: str, values: Mapping[str, float]) -> float | None:
    metrics = METRICS[task]
    names = [task] if len(metrics) == 1 else [f"{task} {metric}" for metric in metrics]
    found = [values[name] for name in names if name in values]
    return sum(found) / len(found) if len(found) == len(names) else None
