"""What was measured of relations, ready for JSON; scores are shares between 0 and 1.

P@1, P@10 and the mean reciprocal rank are of facts whose object is one token, which can be ranked;
exact match, where objects of any length are asked for, is of all.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ptune_scale.lama.job import LamaJob
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.confidence import gained, interval, interval_of_mean, resampled
from ptune_scale.task.metrics import Outcome, find_metric
from ptune_scale.task.record import Record
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.scores import BASE, Results, gain_of, heading, versions

Answered = tuple[Record, Prediction]

WHOLE = "exact_match"
_RANKED = ("p_at_1", "p_at_10", "mrr")


def build_results(job: LamaJob, results: Sequence[MethodResult]) -> Results:
    """Scores of all methods with their confidence intervals, and what they were measured with."""
    scored = {result.name: _scored(job, result) for result in results}
    for name, info in job.training.items():
        scored[name]["training"] = _renamed(info)
        scored[name]["throughput"] = _renamed(info.get("throughput", {}))
        scored[name]["training"].pop("throughput", None)
    first = next((scored[name] for name in job.training), {})
    controls = {result.name for result in results if result.control}
    base = next((result for result in results if result.name == BASE), None)
    for result in results:
        if base is not None and result is not base and not result.control:
            scored[result.name]["gain"] = _gains(job, result, base)
    return {
        **heading(job),
        "candidates": _sets(job)[0],
        "objects": job.config.data.objects,
        "methods": {k: v for k, v in scored.items() if k not in controls},
        "controls": {k: v for k, v in scored.items() if k in controls},
        "training": first.get("training", {}),
        "throughput": first.get("throughput", {}),
        "dropped_facts": {k: v for k, v in job.dropped.items() if v},
        "test_held_out_of_training": [task.name for task in job.tasks if task.splits.notes],
        "notes": job.notes,
        "config": job.config.as_dict(),
        "versions": versions(),
    }


def _renamed(info: Mapping[str, Any]) -> Results:
    """What training says, in the words of facts."""
    return {
        key.replace("records", "facts").replace("of_task", "of_relation"): value
        for key, value in info.items()
    }


def _sets(job: LamaJob) -> list[str]:
    """Names of the sets of candidates, the reported one first."""
    answer: Any = job.tasks[0].wording.answer
    return list(getattr(answer, "ranked", answer).sets)


def _scored(job: LamaJob, result: MethodResult) -> Results:
    answered = _answered(job, result)
    metrics = _metrics(job)
    by_candidates = {}
    for name in _sets(job):
        outcomes = {task: _outcomes(part, name) for task, part in answered.items()}
        by_candidates[name] = {
            "micro": _scores([each for part in outcomes.values() for each in part], metrics),
            "macro": _mean(list(outcomes.values()), metrics),
            "relations": {task: _scores(part, metrics) for task, part in outcomes.items()},
        }
    first = _sets(job)[0]
    seen, unseen = _by_novelty(job, answered)
    return {
        "description": result.description,
        **by_candidates[first],
        "by_candidates": {
            name: {"micro": v["micro"], "macro": v["macro"]} for name, v in by_candidates.items()
        },
        "seen_objects": _scores(_outcomes(seen, first), metrics),
        "unseen_objects": _scores(_outcomes(unseen, first), metrics),
        **({"prompts": result.wordings} if result.wordings else {}),
    }


def _metrics(job: LamaJob) -> tuple[str, ...]:
    return (*_RANKED, WHOLE) if job.config.data.objects == "all" else _RANKED


def _answered(job: LamaJob, result: MethodResult) -> dict[str, list[Answered]]:
    return {
        task.name: list(zip(task.splits.test, result.predictions[task.name], strict=True))
        for task in job.tasks
    }


def _by_novelty(
    job: LamaJob, answered: Mapping[str, list[Answered]]
) -> tuple[list[Answered], list[Answered]]:
    """What was answered to facts whose object training has shown, and to the others."""
    seen: list[Answered] = []
    unseen: list[Answered] = []
    for task in job.tasks:
        known = {record.answer for record in (*task.splits.train, *task.splits.dev)}
        for each in answered[task.name]:
            (seen if each[0].answer in known else unseen).append(each)
    return seen, unseen


def _outcomes(answered: Iterable[Answered], candidates: str) -> list[Outcome]:
    """Outcomes of facts, ranked among a set of candidates."""
    return [
        Outcome(
            record.answer or "",
            found.answer,
            rank=None if found.ranks is None else found.ranks[candidates],
        )
        for record, found in answered
    ]


def _scored_by(metric: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that a metric is of."""
    return [o for o in outcomes if metric == WHOLE or o.rank is not None]


def _scores(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> Results:
    """Scores of facts with their confidence intervals; 0 where there are none."""
    scores: Results = {}
    intervals = {}
    for name in metrics:
        of_it, metric = _scored_by(name, outcomes), find_metric(name)
        scores[name] = metric.compute(of_it) if of_it else 0.0
        intervals[name] = interval(metric, of_it) if of_it else None
        scores["all_facts" if name == WHOLE else "facts"] = len(of_it)
    return {**scores, "interval": intervals}


def _mean(relations: Sequence[Sequence[Outcome]], metrics: Sequence[str]) -> Results:
    """Mean over the relations that have such facts, each counting the same; sums of counts."""
    found: Results = {}
    intervals = {}
    for name in metrics:
        metric = find_metric(name)
        parts = [part for each in relations if (part := _scored_by(name, each))]
        found[name] = fmean([metric.compute(part) for part in parts] or [0.0])
        found["all_facts" if name == WHOLE else "facts"] = sum(map(len, parts))
        drawn = [resampled(metric, part, seed=seed) for seed, part in enumerate(parts)]
        intervals[name] = interval_of_mean(drawn)
    return {**found, "interval": intervals}


def _gains(job: LamaJob, ours: MethodResult, base: MethodResult) -> Results:
    """By metric, what is gained on the same facts: by relation, over all facts and as the mean."""
    first = _sets(job)[0]
    both = [
        {task: _outcomes(part, first) for task, part in _answered(job, result).items()}
        for result in (ours, base)
    ]
    return {name: _gain(name, *both) for name in _metrics(job) if name in (_RANKED[0], WHOLE)}


def _gain(name: str, ours: Mapping[str, Any], base: Mapping[str, Any]) -> Results:
    metric = find_metric(name)
    pairs = {
        task: (_scored_by(name, ours[task]), _scored_by(name, base[task]))
        for task in ours
        if _scored_by(name, ours[task])
    }
    if not pairs:
        return {}
    relations = {task: gain_of(metric, [a], [b]) for task, (a, b) in pairs.items()}
    every = [[o for pair in pairs.values() for o in pair[side]] for side in (0, 1)]
    drawn = [gained(metric, [a], [b], seed=seed) for seed, (a, b) in enumerate(pairs.values())]
    return {
        "relations": relations,
        "micro": gain_of(metric, [every[0]], [every[1]]),
        "macro": {
            "value": fmean(each["value"] for each in relations.values()),
            "interval": interval_of_mean(drawn),
        },
    }
