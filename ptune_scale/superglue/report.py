"""Results of a SuperGLUE run as JSON, as tables and as a plot."""

import json
import os
from pathlib import Path
from typing import Any

from ptune_scale.parallel import Mesh
from ptune_scale.report import versions
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import TaskResult

_CONTROLS = ("majority",)


def build_task(job: TaskJob, results: list[TaskResult]) -> dict[str, Any]:
    """What was measured on a task, ready for JSON; metrics are between 0 and 1."""
    return {
        "task": job.task.name,
        "deciding": list(job.task.deciding),
        "records": {"train": len(job.train), "dev": len(job.dev), "test": len(job.test)},
        "test_split": job.test_split,
        "methods": {
            result.name: {
                "description": result.description,
                "dev": result.dev,
                "test": result.test,
                "deviation": result.deviation,
                "trials": dict(result.trials),
            }
            for result in results
        },
        "notes": job.notes,
    }


def build_results(
    config: SuperglueConfig, mesh: Mesh, tasks: list[dict[str, Any]]
) -> dict[str, Any]:
    """All tasks so far."""
    return {
        "model": config.model.model,
        "world_size": mesh.world.size,
        "layout": mesh.degrees.name,
        "seed": config.train.seed,
        "tasks": {task["task"]: task for task in tasks},
        "config": config.as_dict(),
        "versions": versions(),
    }


def task_table(task: dict[str, Any]) -> str:
    """Metrics of a task in percent, a line for each method, as Markdown."""
    metrics = list(next(iter(task["methods"].values()))["test"])
    head = [
        "method",
        *(f"{task['test_split']} {m}" for m in metrics),
        *(f"dev {m}" for m in metrics),
    ]
    lines = [f"**{task['task']}**", "", *_head(head)]
    for name, scores in task["methods"].items():
        test = [_cell(scores["test"][m], scores["deviation"][m]) for m in metrics]
        dev = [_cell(scores["dev"][m]) if m in scores["dev"] else "" for m in metrics]
        lines.append(f"| {' | '.join([name, *test, *dev])} |")
    lines += ["", *(f"- {name}: {s['description']}" for name, s in task["methods"].items())]
    counts = ", ".join(f"{count} {name}" for name, count in task["records"].items())
    lines += [f"- records: {counts}", *(f"- {note}" for note in task["notes"])]
    return "\n".join(lines)


def table(results: dict[str, Any]) -> str:
    """All tasks side by side: the deciding metrics in percent, and their average, as Markdown.

    As in the paper's tables, a task with two metrics shows both and counts with their mean.
    """
    tasks = results["tasks"]
    lines = _head(["method", *tasks, "average"])
    for name in dict.fromkeys(m for task in tasks.values() for m in task["methods"]):
        cells, values = [name], []
        for task in tasks.values():
            scores = task["methods"].get(name)
            if scores is None:
                cells.append("")
                continue
            shown = _shown(task, scores["test"])
            cells.append("/".join(f"{100 * value:.1f}" for value in shown))
            values.append(sum(shown) / len(shown))
        whole = len(values) == len(tasks)
        cells.append(f"{100 * sum(values) / len(values):.1f}" if whole else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(task: dict[str, Any], scores: dict[str, float]) -> list[float]:
    """The metrics that the paper reports: EM and F1a for MultiRC, accuracy and F1 for CB."""
    names = ["em", "f1a"] if "em" in scores else task["deciding"]
    return [scores[name] for name in names]


def _head(names: list[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _cell(value: float, deviation: float = 0.0) -> str:
    return f"{100 * value:.1f}" + (f" ± {100 * deviation:.1f}" if deviation else "")


def write(results: dict[str, Any], directory: Path) -> None:
    """Write results.json, results.md and tasks.png.

    Raises:
        OSError: they cannot be written.
    """
    pages = [table(results), *(task_table(task) for task in results["tasks"].values())]
    for name, text in (
        ("results.json", json.dumps(results, indent=1)),
        ("results.md", "\n\n".join(pages) + "\n"),
    ):
        scratch = directory / f".{name}.partial"
        scratch.write_text(text)
        os.replace(scratch, directory / name)
    _plot(results, directory / "tasks.png")


def _plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    tasks = results["tasks"]
    methods = list(dict.fromkeys(m for task in tasks.values() for m in task["methods"]))
    width = 0.8 / len(methods)
    size = (max(5, (0.4 + 0.15 * len(methods)) * len(tasks) + 2), 4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    for place, method in enumerate(methods):
        left = (place - (len(methods) - 1) / 2) * width
        shown = [(i, task) for i, task in enumerate(tasks.values()) if method in task["methods"]]
        scores = [(task, task["methods"][method]) for _, task in shown]
        first = [task["deciding"][0] for task, _ in scores]
        heights = [100 * s["test"][m] for (_, s), m in zip(scores, first, strict=True)]
        spreads = [100 * s["deviation"][m] for (_, s), m in zip(scores, first, strict=True)]
        axes.bar([i + left for i, _ in shown], heights, width, yerr=spreads, label=method)
    axes.set_xticks(range(len(tasks)), list(tasks))
    axes.set_ylabel("accuracy (%)")
    axes.set_title(results["model"])
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
