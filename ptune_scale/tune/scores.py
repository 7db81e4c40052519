"""Everything that was measured of a job's methods, ready for JSON; shares are between 0 and 1."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean
from typing import Any

from ptune_scale.task.confidence import ends, gained, interval, interval_of_mean, resampled
from ptune_scale.task.metrics import Metric, Outcome, find_metric
from ptune_scale.task.task import Task
from ptune_scale.tune.job import Job, MethodResult

Results = dict[str, Any]
Answered = Mapping[str, Sequence[Outcome]]
"""What a method answered to the test records of each task."""

BASE = "manual"
"""The method that gains are counted over."""


def build_results(
    job: Job, results: Sequence[MethodResult], answered: Mapping[str, Answered]
) -> Results:
    """Scores of all methods with their confidence intervals, and what they were measured with.

    Args:
        answered: of each method, see ``answers_of``.
    """
    scored = {result.name: _scored(job, result, answered[result.name]) for result in results}
    for name, training in job.training.items():
        scored[name]["training"] = training
    controls = {result.name for result in results if result.control}
    if BASE in scored:
        for name in scored.keys() - controls - {BASE}:
            scored[name]["gain"] = _gains(job, answered[name], answered[BASE])
    return {
        **heading(job),
        "methods": {k: v for k, v in scored.items() if k not in controls},
        "controls": {k: v for k, v in scored.items() if k in controls},
        "notes": job.notes,
        "tasks": {task.name: _about(task) for task in job.tasks},
        "config": job.config.as_dict(),
        "versions": versions(),
    }


def gain_shown(methods: Mapping[str, Results]) -> Results:
    """The gain that stands in tables: that of P-tuning, with typed settings or the best of some."""
    names = (name for name in ("ptuning", "ptuning_search") if name in methods)
    return methods[name].get("gain", {}) if (name := next(names, "")) else {}


def answers_of(job: Job, results: Sequence[MethodResult]) -> dict[str, Answered]:
    """Outcomes of each method's test records, by task."""
    asked = job.asked()
    return {
        result.name: {
            task.task.name: in_units(
                task.task.metrics, task.outcomes(task.test, result.predictions[task.task.name])
            )
            for task in asked
        }
        for result in results
    }


def in_units(names: Sequence[str], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Outcomes with their groups where one of the metrics judges groups, else without.

    Intervals take or leave a group together; a column that merely has that name is no group.
    """
    if any("group" in find_metric(name).needs for name in names):
        return outcomes
    return [replace(outcome, group="") for outcome in outcomes]


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


def _scored(job: Job, result: MethodResult, answered: Answered) -> Results:
    tasks, drawn = {}, []
    for seed, task in enumerate(job.tasks):
        outcomes = answered[task.name]
        scores = scores_of(task.metrics, outcomes)
        tasks[task.name] = {**scores, "dev": result.dev.get(task.name, {})}
        if len(job.tasks) > 1 and _has(task.metrics[0], outcomes):
            drawn.append(resampled(find_metric(task.metrics[0]), outcomes, seed=seed))
    return {
        "description": result.description,
        "tasks": tasks,
        "mean": (mean := _mean(job.tasks, tasks)),
        "mean_interval": None if mean is None else interval_of_mean(drawn),
        **({"patterns": result.wordings} if result.wordings else {}),
    }


def scores_of(names: Sequence[str], outcomes: Sequence[Outcome]) -> Results:
    """Metrics of what was answered, as far as the answers have what they need.

    Raises:
        UserError: as ``Metric.compute``.
    """
    metrics = [find_metric(name) for name in names if _has(name, outcomes)]
    return {
        **{metric.name: metric.compute(outcomes) for metric in metrics},
        "records": len(outcomes),
        "interval": {metric.name: interval(metric, outcomes) for metric in metrics},
    }


def _has(name: str, outcomes: Sequence[Any]) -> bool:
    """Whether a method's answers have what a metric needs; a control has no likelihoods."""
    needs = find_metric(name).needs
    return all(getattr(o, each) not in (None, "") for each in needs for o in outcomes)


def _mean(tasks: Sequence[Task], scores: Mapping[str, Results]) -> float | None:
    """Mean over tasks of the first metric of each; None where one lacks it, or has no share."""
    if any(find_metric(task.metrics[0]).better == "lower" for task in tasks):
        return None
    values = [scores[t.name][t.metrics[0]] for t in tasks if t.metrics[0] in scores[t.name]]
    return sum(values) / len(values) if len(values) == len(tasks) else None


def _gains(job: Job, tuned: Answered, base: Answered) -> Results:
    """How much better a method is by each task's first metric, on the same records."""
    gains = {}
    for task in job.tasks:
        metric = find_metric(task.metrics[0])
        ours, theirs = tuned[task.name], base[task.name]
        if _has(metric.name, ours) and _has(metric.name, theirs):
            gains[task.name] = gain_of(metric, [ours], [theirs])
    return gains


def gain_of(
    metric: Metric, tuned: Sequence[Sequence[Outcome]], base: Sequence[Sequence[Outcome]]
) -> Results:
    """What is gained on the same records, where more is better, with its confidence interval.

    Args:
        tuned, base: in one or several trials.
    """
    sign = 1 if metric.better == "higher" else -1
    means = [fmean(metric.compute(outcomes) for outcomes in trials) for trials in (tuned, base)]
    drawn = gained(metric, tuned, base)
    return {
        "metric": metric.name,
        "value": sign * (means[0] - means[1]),
        "interval": None if drawn is None else ends(drawn),
    }


def versions() -> dict[str, str]:
    """Installed versions of what results depend on."""
    found = {}
    for name in ("ptune_scale", "torch", "transformers", "deepspeed", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
