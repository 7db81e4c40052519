"""Results of a SuperGLUE run as JSON, as tables and as a plot, and the predictions behind them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptune_scale.files import write_json, write_text
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.results import TaskResult
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.report import Results, heading, plot, prediction_lines, versions


@dataclass(frozen=True)
class Done:
    """A task, and what its methods came to."""

    job: TaskJob
    results: Sequence[TaskResult]

    def summary(self) -> Results:
        """What was measured, ready for JSON; metrics are between 0 and 1."""
        task, splits = self.job.task, self.job.task.splits
        counts = {"train": splits.train, "dev": splits.dev, "test": splits.test}
        return {
            "task": task.name,
            "deciding": self.job.select_on,
            "records": {name: len(part) for name, part in counts.items()},
            "test_split": self.job.test_split,
            "methods": {
                result.name: {
                    "description": result.description,
                    "dev": result.dev,
                    "test": result.test,
                    "deviation": result.deviation,
                    "trials": dict(result.trials),
                }
                for result in self.results
            },
            "notes": self.job.notes,
        }

    def prediction_lines(self) -> list[Results]:
        """A line for each test record and method."""
        name = self.job.task.name
        answered = [
            MethodResult(result.name, result.description, {name: list(result.predictions)})
            for result in self.results
            if result.predictions
        ]
        return prediction_lines(self.job, answered)


def build_results(done: Sequence[Done]) -> Results:
    """All tasks so far."""
    job = done[0].job
    return {
        **heading(job),
        "tasks": {each.job.task.name: each.summary() for each in done},
        "config": job.config.as_dict(),
        "versions": versions(),
    }


def task_table(task: Results) -> str:
    """Metrics of a task in percent, a line for each method, as Markdown."""
    metrics = list(next(iter(task["methods"].values()))["test"])
    shown = [f"{part} {metric}" for part in (task["test_split"], "dev") for metric in metrics]
    lines = [f"**{task['task']}**", "", *_head(["method", *shown])]
    for name, scores in task["methods"].items():
        test = [_cell(scores["test"][m], scores["deviation"][m]) for m in metrics]
        dev = [_cell(scores["dev"][m]) if m in scores["dev"] else "" for m in metrics]
        lines.append(f"| {' | '.join([name, *test, *dev])} |")
    lines += ["", *(f"- {name}: {s['description']}" for name, s in task["methods"].items())]
    counts = ", ".join(f"{count} {name}" for name, count in task["records"].items())
    lines += [f"- records: {counts}", *(f"- {note}" for note in task["notes"])]
    return "\n".join(lines)


def table(results: Results) -> str:
    """All tasks side by side: the deciding metrics in percent, and their average, as Markdown.

    As in the paper's tables, a task with two metrics shows both and counts with their mean.
    """
    tasks = results["tasks"]
    lines = _head(["method", *tasks, "average"])
    for name in dict.fromkeys(m for task in tasks.values() for m in task["methods"]):
        cells, values = [name], []
        for task in tasks.values():
            shown = _shown(task, name)
            cells.append("/".join(_cell(value) for value in shown))
            values += [sum(shown) / len(shown)] if shown else []
        whole = len(values) == len(tasks)
        cells.append(_cell(sum(values) / len(values)) if whole else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(task: Results, method: str) -> list[float]:
    """The metrics that the paper reports: EM and F1a for MultiRC, accuracy and F1 for CB."""
    scores = task["methods"].get(method, {}).get("test", {})
    names = ["em", "f1a"] if "em" in scores else task["deciding"] if scores else []
    return [scores[name] for name in names]


def _head(names: list[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _cell(value: float, deviation: float = 0.0) -> str:
    return f"{100 * value:.1f}" + (f" ± {100 * deviation:.1f}" if deviation else "")


def write(done: Sequence[Done], directory: Path) -> None:
    """Write results.json, results.md, predictions.jsonl and tasks.png.

    Raises:
        UserError: they cannot be written.
    """
    results = build_results(done)
    write_json(directory / "results.json", results)
    pages = [table(results), *(task_table(task) for task in results["tasks"].values())]
    write_text(directory / "results.md", "\n\n".join(pages) + "\n")
    lines = [json.dumps(line) for each in done for line in each.prediction_lines()]
    write_text(directory / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    bars: dict[str, dict[str, Any]] = {}
    for each in done:
        first = each.job.select_on[0]
        for result in each.results:
            score = (result.test[first], result.deviation[first])
            bars.setdefault(result.name, {})[each.job.task.name] = score
    plot(bars, results["model"], directory / "tasks.png")
