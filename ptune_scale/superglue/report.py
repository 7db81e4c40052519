"""Results of a SuperGLUE run as JSON, as tables, plots and a page, and the predictions behind them.

What stands under dev has no interval: the best step was chosen for being good there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ptune_scale.files import write_json, write_text
from ptune_scale.report import figures
from ptune_scale.report.page import Page, write_page
from ptune_scale.report.table import Table, with_interval
from ptune_scale.superglue.job import NAMES, TaskJob
from ptune_scale.superglue.results import TaskResult
from ptune_scale.task.asking import outcomes_of
from ptune_scale.task.confidence import interval, interval_of_mean, resampled
from ptune_scale.task.metrics import Outcome, find_metric
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.report import (
    INTERVALS,
    as_markdown,
    confusions,
    plots_of,
    prediction_lines,
)
from ptune_scale.tune.scores import BASE, Results, gain_of, heading, versions

_NO_GAIN = ("majority", BASE, f"{BASE}_mean")
"""What a gain over manual prompts says nothing of."""


@dataclass(frozen=True)
class Done:
    """A task, and what its methods came to."""

    job: TaskJob
    results: Sequence[TaskResult]

    @cached_property
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
                    "interval": self._intervals(result.name),
                    "trials": dict(result.trials),
                }
                for result in self.results
            },
            "notes": self.job.notes,
        }

    @cached_property
    def answered(self) -> dict[str, list[list[Outcome]]]:
        """By method, the outcomes of the test records in each trial; none where it is a mean."""
        task = self.job.task
        return {
            result.name: [
                outcomes_of(task.wording.answer, task.splits.test, self.job.predictions_of(trial))
                for trial in result.reported
            ]
            for result in self.results
        }

    def _intervals(self, method: str) -> Results:
        trials = self.answered[method]
        return {
            NAMES.get(name, name): interval(find_metric(name), *trials) if trials else None
            for name in self.job.task.metrics
        }

    def drawn(self, method: str, seed: int) -> np.ndarray | None:
        """Resampled values of what the task counts with in an average; see ``table``."""
        trials = self.answered.get(method, [])
        shown = shown_metrics(self.summary, method)
        names = [name for name in self.job.task.metrics if NAMES.get(name, name) in shown]
        if not trials or len(names) != len(shown):
            return None
        parts = [resampled(find_metric(name), *trials, seed=seed) for name in names]
        known = [part for part in parts if part is not None]
        return np.mean(known, axis=0) if len(known) == len(parts) else None

    def gain(self, method: str) -> Results | None:
        """What a method gains over manual prompts by the task's first metric."""
        ours, theirs = self.answered.get(method, []), self.answered.get(BASE, [])
        if not ours or not theirs:
            return None
        return gain_of(find_metric(self.job.task.select_on[0]), ours, theirs)

    @property
    def predictions(self) -> list[MethodResult]:
        """What was answered in the first trial of each method that has one."""
        name = self.job.task.name
        return [
            MethodResult(result.name, result.description, {name: list(result.predictions)})
            for result in self.results
            if result.predictions
        ]


def build_results(done: Sequence[Done]) -> Results:
    """All tasks so far."""
    job = done[0].job
    methods = dict.fromkeys(result.name for each in done for result in each.results)
    return {
        **heading(job),
        "tasks": {each.job.task.name: each.summary for each in done},
        "average": {name: _average(done, name) for name in methods},
        "config": job.config.as_dict(),
        "versions": versions(),
    }


def _average(done: Sequence[Done], method: str) -> Results | None:
    """Mean over the tasks; one with two metrics counts with their mean, as in the paper."""
    values = []
    for each in done:
        if not (shown := shown_metrics(each.summary, method)):
            return None
        test = each.summary["methods"][method]["test"]
        values.append(sum(test[name] for name in shown) / len(shown))
    drawn = [each.drawn(method, seed) for seed, each in enumerate(done)]
    return {"value": sum(values) / len(values), "interval": interval_of_mean(drawn)}


def task_table(task: Results) -> Table:
    """Metrics of a task in percent, a line for each method."""
    metrics = list(next(iter(task["methods"].values()))["test"])
    shown = [f"{part} {metric}" for part in (task["test_split"], "dev") for metric in metrics]
    rows = []
    for name, scores in task["methods"].items():
        dev = [with_interval(scores["dev"][m], None) if m in scores["dev"] else "" for m in metrics]
        rows.append([name, *(_cell(scores, m) for m in metrics), *dev])
    return Table(["method", *shown], rows, task["task"])


def task_notes(task: Results) -> list[str]:
    """What stands beside a task's table."""
    counts = ", ".join(f"{count} {name}" for name, count in task["records"].items())
    lines = [f"Percent, {INTERVALS}; none on dev, where the best step was chosen."]
    lines += [f"{name}: {scores['description']}" for name, scores in task["methods"].items()]
    return [*lines, f"records: {counts}", *task["notes"]]


def of_task(task: Results) -> str:
    """A task's table and notes, as Markdown."""
    return as_markdown([task_table(task)], task_notes(task))


def table(results: Results) -> Table:
    """All tasks side by side: the deciding metrics in percent, and their average.

    As in the paper's tables, a task with two metrics shows both and counts with their mean.
    """
    tasks = results["tasks"]
    rows = []
    for name, average in results["average"].items():
        cells = [
            "/".join(_cell(task["methods"][name], metric) for metric in shown_metrics(task, name))
            for task in tasks.values()
        ]
        last = with_interval(average["value"], average["interval"]) if average else ""
        rows.append([name, *cells, last])
    return Table(["method", *tasks, "average"], rows)


def shown_metrics(task: Results, method: str) -> list[str]:
    """The metrics that the paper reports: EM and F1a for MultiRC, accuracy and F1 for CB."""
    scores = task["methods"].get(method, {}).get("test", {})
    return ["em", "f1a"] if "em" in scores else task["deciding"] if scores else []


def _cell(scores: Results, metric: str) -> str:
    """Value, deviation over trials if there are several, and interval over records."""
    value, deviation = scores["test"][metric], scores["deviation"][metric]
    spread = f" ± {100 * deviation:.1f}" if deviation else ""
    found = scores["interval"][metric]
    ends = with_interval(value, found).partition(" ")
    return f"{ends[0]}{spread}{ends[1]}{ends[2]}"


def write(done: Sequence[Done], directory: Path) -> None:
    """Write results.json, results.md, predictions.jsonl, report.html and plots.

    Raises:
        UserError: they cannot be written.
    """
    results = build_results(done)
    write_json(directory / "results.json", results)
    parts = [table(results).markdown(), *(of_task(task) for task in results["tasks"].values())]
    write_text(directory / "results.md", "\n\n".join(part.strip() for part in parts) + "\n")
    lines = [
        json.dumps(line) for each in done for line in prediction_lines(each.job, each.predictions)
    ]
    write_text(directory / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    page = Page(
        f"SuperGLUE, {results['model']}",
        [table(results), *(task_table(each.summary) for each in done)],
        [f"{each.job.task.name}: {n}" for each in done for n in task_notes(each.summary)],
        [plot for plot in _plots(done) if plot],
        results["config"],
        results["versions"],
    )
    write_page(page, directory)


def _plots(done: Sequence[Done]) -> list[figures.Plot | None]:
    methods = dict.fromkeys(result.name for each in done for result in each.results)
    bars: dict[str, dict[str, figures.Score]] = {name: {} for name in methods}
    for each in done:
        first = each.job.select_on[0]
        for name, scores in each.summary["methods"].items():
            bars[name][each.job.task.name] = scores["test"][first], scores["interval"][first]
    plots = [figures.scores(bars, "tasks", "Scores by the first metric of each task")]
    for name in methods:
        if name not in _NO_GAIN:
            gains = {each.job.task.name: each.gain(name) for each in done}
            plots += plots_of(name, {"gain": {task: gain for task, gain in gains.items() if gain}})
    for each in done:
        for result in each.results:
            trial: Any = next(iter(result.reported), {})
            title = f"{result.name} on {each.job.task.name}"
            plots.append(figures.curves(trial, title))
        task = each.job.task.name
        answered = {
            name: {task: trials[0]}
            for name, trials in each.answered.items()
            if trials and (name == BASE or name not in _NO_GAIN)
        }
        plots += confusions(each.job, answered, answered)
    return plots
