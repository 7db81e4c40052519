"""Results as JSON, as a table, as a plot, and the predictions behind them."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ptune_scale.files import write_file, write_json, write_text
from ptune_scale.task.asking import AskedTask, outcomes_of
from ptune_scale.task.metrics import find_metric
from ptune_scale.task.standard_error import standard_error
from ptune_scale.task.task import Task
from ptune_scale.tune.job import Job, MethodResult

Results = dict[str, Any]


def build_results(job: Job, results: Sequence[MethodResult]) -> Results:
    """Everything that was measured, ready for JSON; shares are between 0 and 1."""
    asked = {task.task.name: task for task in job.asked()}
    scored = {result.name: _scored(job, result, asked) for result in results}
    for name, training in job.training.items():
        scored[name]["training"] = training
    controls = {result.name for result in results if result.control}
    return {
        **heading(job),
        "methods": {k: v for k, v in scored.items() if k not in controls},
        "controls": {k: v for k, v in scored.items() if k in controls},
        "notes": job.notes,
        "tasks": {task.name: _about(task) for task in job.tasks},
        "config": job.config.as_dict(),
        "versions": versions(),
    }


def _about(task: Task) -> str:
    """A task in a line."""
    splits = task.splits
    sizes = {"train": splits.learned, "dev": splits.dev, "test": splits.test}
    counts = ", ".join(f"{len(records)} {name}" for name, records in sizes.items())
    return f"{task.wording.pattern.text}, records: {counts}"


def heading(job: Job) -> Results:
    """What was run where."""
    return {
        "model": job.backbone.name,
        "world_size": job.world.size,
        "layout": job.site.mesh.degrees.name,
        "seed": job.config.train.seed,
    }


def _scored(job: Job, result: MethodResult, asked: Mapping[str, AskedTask]) -> Results:
    tasks = {}
    for task in job.tasks:
        outcomes = asked[task.name].outcomes(asked[task.name].test, result.predictions[task.name])
        metrics = [find_metric(name) for name in task.metrics if _has(name, outcomes)]
        tasks[task.name] = {
            **{metric.name: metric.compute(outcomes) for metric in metrics},
            "records": len(outcomes),
            "standard_error": {m.name: standard_error(m, outcomes) for m in metrics},
            "dev": result.dev.get(task.name, {}),
        }
    return {
        "description": result.description,
        "tasks": tasks,
        "mean": _mean(job.tasks, tasks),
        **({"patterns": result.wordings} if result.wordings else {}),
    }


def _has(name: str, outcomes: Sequence[Any]) -> bool:
    """Whether a method's answers have what a metric needs; a control has no likelihoods."""
    needs = find_metric(name).needs
    return all(getattr(o, each) not in (None, "") for each in needs for o in outcomes)


def _mean(tasks: Sequence[Task], scores: Mapping[str, Results]) -> float | None:
    """Mean over tasks of the first metric of each; None where one lacks it."""
    values = [scores[t.name][t.metrics[0]] for t in tasks if t.metrics[0] in scores[t.name]]
    return sum(values) / len(values) if len(values) == len(tasks) else None


def table(job: Job, results: Results) -> str:
    """Each task's metrics, methods and controls side by side, as Markdown.

    Percent where they are shares, with the standard error over test records.
    """
    columns = {**results["methods"], **results["controls"]}
    lines = ["| task | records | metric | " + " | ".join(columns) + " |"]
    lines.append("|" + "---|" * (3 + len(columns)))
    for task in job.tasks:
        for name in task.metrics:
            cells = [_cell(name, column["tasks"][task.name]) for column in columns.values()]
            count = str(len(task.splits.test))
            lines.append(f"| {task.name} | {count} | {name} | {' | '.join(cells)} |")
    if len(job.tasks) > 1:
        means = [c["mean"] for c in columns.values()]
        cells = ["" if mean is None else f"{100 * mean:.1f}" for mean in means]
        lines.append(f"| mean | | of the first metric | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(name: str, scores: Results) -> str:
    if name not in scores:
        return ""
    scale = 1 if find_metric(name).better == "lower" else 100
    error = scores["standard_error"].get(name)
    spread = f" ± {scale * error:.1f}" if error is not None else ""
    return f"{scale * scores[name]:.1f}{spread}"


def notes(results: Results) -> str:
    """What stands beside the table."""
    everything = {**results["methods"], **results["controls"]}
    lines = ["Percent, but for perplexity; ± is the standard error over test records."]
    lines += [f"- {name}: {scores['description']}" for name, scores in everything.items()]
    lines += [f"- {note}" for note in results["notes"]]
    lines += [f"- {name}: {about}" for name, about in results["tasks"].items()]
    steps = [
        f"{name} {each['training']['steps']} steps"
        for name, each in everything.items()
        if "steps" in each.get("training", {})
    ]
    made = [f"model {results['model']}", f"layout {results['layout']}", *steps]
    lines.append(f"- {', '.join(made)}; ptune_scale {results['versions']['ptune_scale']}")
    return "\n".join(lines)


def prediction_lines(job: Job, results: Sequence[MethodResult]) -> list[Results]:
    """A line for each test record and method."""
    lines = []
    for result in results:
        for task in job.tasks:
            records, found = task.splits.test, result.predictions[task.name]
            outcomes = outcomes_of(task.wording.answer, records, found)
            for record, outcome, prediction in zip(records, outcomes, found, strict=True):
                lines.append(
                    {
                        "task": task.name,
                        "id": record.id,
                        "method": result.name,
                        "answer": prediction.answer,
                        "expected": outcome.expected,
                        "correct": _is_correct(task, outcome),
                        "score": prediction.score,
                        **({"text": prediction.text} if prediction.text is not None else {}),
                    }
                )
    return lines


def _is_correct(task: Task, outcome: Any) -> bool:
    name = "exact_match" if task.wording.answer.kind in ("text", "candidates") else "accuracy"
    if outcome.rank is not None:
        return outcome.rank == 1
    return bool(find_metric(name).compute([outcome]))


def write(job: Job, results: Sequence[MethodResult], summary: Results, directory: Path) -> None:
    """Write results.json, results.md, predictions.jsonl and scores.png.

    Raises:
        UserError: they cannot be written.
    """
    write_json(directory / "results.json", summary)
    write_text(directory / "results.md", f"{table(job, summary)}\n\n{notes(summary)}\n")
    lines = (json.dumps(line, ensure_ascii=False) for line in prediction_lines(job, results))
    write_text(directory / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    bars = {
        name: {
            task.name: (
                scores["tasks"][task.name][task.metrics[0]],
                scores["tasks"][task.name]["standard_error"][task.metrics[0]] or 0.0,
            )
            for task in job.tasks
            if task.metrics[0] in scores["tasks"][task.name]
        }
        for name, scores in {**summary["methods"], **summary["controls"]}.items()
    }
    plot(bars, job.backbone.name, directory / "scores.png")


def plot(bars: Mapping[str, Mapping[str, tuple[float, float]]], title: str, path: Path) -> None:
    """Bars of each method's score on each task, with error bars.

    Args:
        bars: method -> task -> (score, its error).
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(task for scores in bars.values() for task in scores))
    if not names:
        return
    width = 0.8 / len(bars)
    size = (min(40, max(5, (0.3 + 0.1 * len(bars)) * len(names) + 2)), 4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    for place, (method, scores) in enumerate(bars.items()):
        left = (place - (len(bars) - 1) / 2) * width
        places = [names.index(task) + left for task in scores]
        heights = [100 * value for value, _ in scores.values()]
        errors = [100 * error for _, error in scores.values()]
        axes.bar(places, heights, width, yerr=errors, label=method, error_kw={"lw": 0.8})
    axes.set_xticks(range(len(names)), names, rotation=60 if len(names) > 8 else 0)
    axes.set_ylabel("score (%)")
    axes.set_title(title)
    axes.legend(fontsize="small")
    write_file(path, lambda scratch: figure.savefig(scratch, dpi=120))


def versions() -> dict[str, str]:
    """Installed versions of what results depend on."""
    found = {}
    for name in ("ptune_scale", "torch", "transformers", "deepspeed", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
