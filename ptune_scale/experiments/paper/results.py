"""The numbers of a row, in percent, from what the jobs that cover it left behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.experiments.paper.rows import AVERAGE, METRICS, PaperRow, names_of
from ptune_scale.reading import read_object

MACRO = "macro p_at_1"
"""LAMA: mean over relations; the paper's number may be either."""


@dataclass
class RowResult:
    """What was measured for a row.

    Attributes:
        values: by metric, named as those of the paper's row, and ``MACRO``.
        deviation: of the same, over repetitions or prompts; 0 is left out.
        notes: what a reader of the numbers should know.
    """

    values: dict[str, float] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(row: PaperRow, directories: Iterable[Path]) -> RowResult:
    """Read what finished jobs left behind.

    Raises:
        UserError: they do not hold the row.
    """
    result = RowResult()
    for directory in directories:
        path = directory / "results.json"
        again = f"remove {directory.with_suffix('.json')} to go on with its job"
        try:
            found = read_object(path, "results")
        except UserError as error:
            raise UserError(f"{error}; {again}") from error
        try:
            _READERS[row.launcher](row, found, result)
        except KeyError as error:
            reason = f"{row.method} gave no {error.args[0]} on this model; see {directory}"
            raise UserError(reason) from error
        except (TypeError, AttributeError, IndexError) as error:
            raise UserError(f"results {path} are not as they were written; {again}") from error
    means = [_mean_of_task(task, result.values) for task in METRICS]
    if AVERAGE in row.paper and None not in means:
        result.values[AVERAGE] = sum(mean or 0.0 for mean in means) / len(means)
    return result


def _read_facts(row: PaperRow, found: Mapping[str, Any], result: RowResult) -> None:
    def both(scores: Mapping[str, Any]) -> dict[str, float]:
        kinds = {"p_at_1": "micro", MACRO: "macro"}
        return {name: 100 * scores[kind]["p_at_1"] for name, kind in kinds.items()}

    scores = found["methods"][row.result]
    result.values |= both(scores)
    relations, facts = len(scores["relations"]), scores["micro"]["facts"]
    result.notes.append(f"{facts} test facts, relations: {relations}")
    _note_candidates(row, found, found["config"]["data"]["candidates"], result)
    others = {**found["methods"], **found["controls"]}
    for name, other in others.items():
        if name.startswith(f"{row.method}_") and name not in (row.result, "manual_train_objects"):
            micro, macro = both(other).values()
            result.notes.append(f"{name}: P@1 {micro:.1f}, macro {macro:.1f}")


def _read_prompts(row: PaperRow, found: Mapping[str, Any], result: RowResult) -> None:
    scores = {prompt["text"]: prompt["full"] for prompt in found["prompts"]}
    result.values |= dict.fromkeys(row.paper, 100 * scores[row.prompt])
    result.notes.append(f"{found['full']}, {found['metric']}")
    _note_candidates(row, found, found["config"]["study"]["candidates"], result)


def _note_candidates(
    row: PaperRow, found: Mapping[str, Any], asked: str, result: RowResult
) -> None:
    name = Path(asked).name if found["candidates"] == "file" else found["candidates"]
    result.notes.append(f"answers are ranked among {name}")
    if name != row.vocabulary:
        result.notes.append(
            f"the data has no {row.vocabulary}: facts and candidates are "
            "those that it has, which may not be the paper's"
        )


def _read_tasks(row: PaperRow, found: Mapping[str, Any], result: RowResult) -> None:
    for task, of_task in found["tasks"].items():
        scores = of_task["methods"][row.result]
        if row.prompt:
            scores = {"deviation": {}, **_of_prompt(scores["trials"], row.prompt)}
        for metric, name in names_of(task).items():
            result.values[name] = 100 * scores["test"][metric]
            if deviation := scores["deviation"].get(metric):
                result.deviation[name] = 100 * deviation
        if f"{task} dev32" in row.paper:
            result.values[f"{task} dev32"] = 100 * scores["dev"]["accuracy"]
        if of_task["test_split"] == "dev32":
            result.notes.append(
                f"{task} has no val in this data: scored on dev32, which chose the step too"
            )


def _of_prompt(trials: Mapping[str, Any], prompt: str) -> dict[str, dict[str, float]]:
    """Means over the repetitions with one manual prompt."""
    found = [trial for name, trial in trials.items() if prompt in name.split("-")]
    if not found:
        raise KeyError(prompt)
    return {
        part: {m: sum(t[part][m] for t in found) / len(found) for m in found[0][part]}
        for part in ("dev", "test")
    }


def _mean_of_task(task: str, values: Mapping[str, float]) -> float | None:
    found = [values[name] for name in names_of(task).values() if name in values]
    return sum(found) / len(found) if len(found) == len(METRICS[task]) else None


_READERS = {"lama": _read_facts, "superglue": _read_tasks, "prompt_study": _read_prompts}
