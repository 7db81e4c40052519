"""Results as JSON, as tables, plots and a page, and the predictions behind them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ptune_scale.files import write_json, write_text
from ptune_scale.report import figures
from ptune_scale.report.page import Page, write_page
from ptune_scale.report.table import Table, with_interval
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import outcomes_of
from ptune_scale.task.metrics import find_metric
from ptune_scale.task.task import Task
from ptune_scale.tune.job import Job, MethodResult
from ptune_scale.tune.scores import BASE, Answered, Results, gain_shown

INTERVALS = "in brackets the 95 % confidence interval over test records"


def table(job: Job, results: Results) -> Table:
    """Each task's metrics, methods and controls side by side.

    Percent where they are shares, with confidence intervals over test records.
    """
    columns = {**results["methods"], **results["controls"]}
    gains = gain_shown(results["methods"])
    rows = []
    for task in job.tasks:
        for name in task.metrics:
            row = [task.name, str(len(task.splits.test)), name]
            row += [cell(name, column["tasks"][task.name]) for column in columns.values()]
            rows.append([*row, *([_gain(gains.get(task.name), name)] if gains else [])])
    if len(job.tasks) > 1:
        means = [
            "" if c["mean"] is None else with_interval(c["mean"], c["mean_interval"])
            for c in columns.values()
        ]
        rows.append(["mean", "", "of the first metric", *means, *([""] if gains else [])])
    return Table(["task", "records", "metric", *columns, *(["gain"] if gains else [])], rows)


def _gain(gain: Results | None, metric: str) -> str:
    """What prompts gain over manual ones, where it was counted by this metric."""
    if gain is None or gain["metric"] != metric:
        return ""
    scale = 1 if find_metric(metric).better == "lower" else 100
    return with_interval(gain["value"], gain["interval"], scale=scale, sign="+")


def cell(name: str, scores: Results) -> str:
    """A metric of some scores, with its confidence interval; "" where they lack it."""
    if name not in scores:
        return ""
    scale = 1 if find_metric(name).better == "lower" else 100
    return with_interval(scores[name], scores["interval"][name], scale=scale)


def notes(results: Results) -> list[str]:
    """What stands beside the table."""
    everything = {**results["methods"], **results["controls"]}
    lines = [f"Percent, but for perplexity; {INTERVALS}."]
    lines += [f"{name}: {scores['description']}" for name, scores in everything.items()]
    lines += results["notes"]
    lines += [f"{name}: {about}" for name, about in results["tasks"].items()]
    steps = [
        f"{name} {each['training']['steps']} steps"
        for name, each in everything.items()
        if "steps" in each.get("training", {})
    ]
    made = [f"model {results['model']}", f"layout {results['layout']}", *steps]
    lines.append(f"{', '.join(made)}; ptune_scale {results['versions']['ptune_scale']}")
    return lines


def as_markdown(tables: Sequence[Table], said: Sequence[str]) -> str:
    """Tables, and what stands beside them, as a terminal or a file has them."""
    parts = [f"{each.title}\n\n{each.markdown()}".lstrip() for each in tables]
    if said:
        parts.append("\n".join(f"- {line}" for line in said))
    return "\n\n".join(parts) + "\n"


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


def write(
    job: Job,
    results: Sequence[MethodResult],
    answered: Mapping[str, Answered],
    summary: Results,
) -> None:
    """Write results.json, results.md, predictions.jsonl, report.html and plots.

    Args:
        answered: outcomes of each method's test records, by task.
        summary: what ``build_results`` made of them.

    Raises:
        UserError: they cannot be written.
    """
    shown, said, directory = table(job, summary), notes(summary), job.output
    write_json(directory / "results.json", summary)
    write_text(directory / "results.md", as_markdown([shown], said))
    lines = (json.dumps(line, ensure_ascii=False) for line in prediction_lines(job, results))
    write_text(directory / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    bars: dict[str, dict[str, figures.Score]] = {
        name: {
            task.name: (scored[task.metrics[0]], scored["interval"][task.metrics[0]])
            for task in job.tasks
            if _is_share(task.metrics[0])
            and task.metrics[0] in (scored := scores["tasks"][task.name])
        }
        for name, scores in {**summary["methods"], **summary["controls"]}.items()
    }
    plots = [
        figures.scores(bars, "scores", "Scores by the first metric of each task"),
        *(plot for name, scores in summary["methods"].items() for plot in plots_of(name, scores)),
        *confusions(job, answered, summary["methods"]),
    ]
    page = Page(
        f"Prompts of {job.backbone.name}",
        [shown],
        said,
        [plot for plot in plots if plot],
        summary["config"],
        summary["versions"],
    )
    write_page(page, directory)


def plots_of(name: str, scores: Results) -> list[figures.Plot | None]:
    """What there is to see of a method: gains by task, and how it learned."""
    found = scores.get("gain", {}).items()
    shares = (pair for pair in found if _is_share(pair[1]["metric"]))
    gains = {task: (each["value"], each["interval"]) for task, each in shares}
    return [figures.gains(gains, name, BASE), figures.curves(scores.get("training", {}), name)]


def _is_share(metric: str) -> bool:
    """Whether it can stand in a plot in percent; perplexity cannot."""
    return find_metric(metric).better == "higher"


def confusions(
    job: Job, answered: Mapping[str, Answered], names: Iterable[str]
) -> list[figures.Plot | None]:
    """Which labels the named methods take for which, in tasks with label words."""
    return [
        figures.confusion(outcomes, task.name, name)
        for task in job.tasks
        if isinstance(task.wording.answer, Words)
        for name in names
        if (outcomes := answered[name].get(task.name))
    ]
