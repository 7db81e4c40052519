"""What is left of very many tasks: of each a directory, of all of them a table."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from ptune_scale.errors import UserError
from ptune_scale.files import remove_remains, write_json, write_text
from ptune_scale.reading import check_kind, has_file, read_object
from ptune_scale.report.page import Page, write_page
from ptune_scale.report.table import Table, with_interval
from ptune_scale.task.metrics import find_metric
from ptune_scale.tune.job import Job, MethodResult
from ptune_scale.tune.listed import ListedTask
from ptune_scale.tune.report import INTERVALS, as_markdown, cell, prediction_lines
from ptune_scale.tune.scores import Results, answers_of, build_results, heading, versions

TASKS = "tasks"
"""The directory that has a directory for each task."""

_FILE = "results.json"
_KINDS = {"task": str, "file": str, "tasks_of_file": str}


def write_ended(job: Job, results: Sequence[MethodResult], listed: ListedTask) -> None:
    """Write predictions.jsonl and results.json of a task; the latter says that it is done.

    Args:
        job: of the task alone.
    """
    lines = (json.dumps(line, ensure_ascii=False) for line in prediction_lines(job, results))
    write_text(job.output / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    summary = build_results(job, results, answers_of(job, results))
    about = {"metric": listed.task.metrics[0], **summary}
    write_json(job.output / _FILE, {**_origin(listed), **about})


def write_failed(directory: Path, listed: ListedTask, error: UserError) -> None:
    """Write why a task could not be trained."""
    write_json(directory / _FILE, {**_origin(listed), "failed": error.line})


def forget(directory: Path) -> None:
    """Remove the checkpoints of a task that is done, and what unfinished writes have left.

    An encoder with its optimizer may be a thousand times larger than the prompt.
    """
    shutil.rmtree(directory / "checkpoint", ignore_errors=True)
    for place in (directory, directory / "prompt"):
        remove_remains(place)


def _origin(listed: ListedTask) -> Results:
    return {"task": listed.task.name, "file": listed.file, "tasks_of_file": listed.tasks_of_file}


def read_ended(output: Path) -> list[Results]:
    """What was written of each task that is done, in the order of their directories' names.

    It is in short, for the curves of very many fill memory. What a process that was killed has left
    of them is removed.

    Raises:
        UserError: it cannot be read.
    """
    directory = output / TASKS
    found = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.is_dir() and has_file(path / _FILE):
            read = read_object(path / _FILE, "results")
            for key, kind in _KINDS.items():
                check_kind(read.get(key), kind, f"results {path / _FILE}: {key}")
            found.append(_in_short(read))
            forget(path)
    return found


def _in_short(read: Results) -> Results:
    """What was written of a task, without its curves."""
    about = {key: read[key] for key in _KINDS}
    if "failed" in read:
        return {**about, "failed": read["failed"]}
    training = read["methods"]["ptuning"]["training"]
    columns = {**read["methods"], **read["controls"]}
    return {
        **about,
        "metric": read["metric"],
        "methods": {name: column["tasks"][read["task"]] for name, column in columns.items()},
        "steps": training["steps"],
        "stopped_early": bool(training["stopped_early"]),
        "throughput": training["throughput"],
        "notes": read["notes"],
    }


class Summary(NamedTuple):
    """What became of a list.

    Attributes:
        line: all of it, to be printed.
        done: how many tasks have a prompt.
        undone: how many failed and were skipped; empty where there are none.
    """

    line: str
    done: int
    undone: str


def write_summary(job: Job, refused: Mapping[str, str]) -> Summary:
    """Write results.json, results.md and report.html of all tasks.

    Args:
        job: of all tasks, with what is to be noted.
        refused: by file, why it could not be used.
    """
    everything = read_ended(job.output)
    ended = [each for each in everything if "failed" not in each]
    failed = {each["task"]: each["failed"] for each in everything if "failed" in each}
    names = list(dict.fromkeys(name for each in ended for name in each["methods"]))
    means = {name: mean for name in names if (mean := _mean(ended, name)) is not None}
    summary = {
        **heading(job),
        "means": means,
        "tasks": {each["task"]: each for each in ended},
        "failed": failed,
        "refused": dict(refused),
        "notes": job.notes,
        "config": job.config.as_dict(),
        "versions": versions(),
    }
    table = _table(ended, names, means)
    undone = [f"failed: {len(failed)}"] if failed else []
    undone += [f"files skipped: {len(refused)}"] if refused else []
    counts = ", ".join([f"tasks done: {len(ended)}", *undone])
    said = [f"Percent, but for perplexity; {INTERVALS}.", counts, *job.notes]
    said += [f"failed: {name}: {why}" for name, why in failed.items()]
    said += [f"skipped: {why}" for why in refused.values()]
    write_json(job.output / _FILE, summary)
    write_text(job.output / "results.md", as_markdown([table], said))
    title = f"Prompts of {job.backbone.name}"
    write_page(
        Page(title, [table], said, settings=summary["config"], versions=summary["versions"]),
        job.output,
    )
    shown = [f"mean of {name} {100 * mean:.1f}" for name, mean in means.items()]
    return Summary("; ".join([counts, *shown]), len(ended), ", ".join(undone))


def _mean(ended: Sequence[Results], name: str) -> float | None:
    """Mean of the first metric of each task; None where one lacks it, or has no share."""
    values = [each["methods"].get(name, {}).get(each["metric"]) for each in ended]
    are_shares = all(find_metric(each["metric"]).better == "higher" for each in ended)
    return fmean(values) if are_shares and None not in values else None


def _table(ended: Sequence[Results], names: Sequence[str], means: Mapping[str, float]) -> Table:
    """A line for each task, with its first metric."""
    rows = []
    for each in ended:
        methods = each["methods"]
        row = [each["task"], str(methods["ptuning"]["records"]), each["metric"]]
        row += [cell(each["metric"], methods.get(name, {})) for name in names]
        steps = str(each["steps"]) + (", stopped early" if each["stopped_early"] else "")
        rows.append([*row, steps])
    if len(ended) > 1:
        shown = [with_interval(means[name], None) if name in means else "" for name in names]
        rows.append(["mean", "", "of the first metric", *shown, ""])
    return Table(["task", "records", "metric", *names, "steps"], rows)
