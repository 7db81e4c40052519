"""Results of relations as JSON, as a table and as a plot.

P@1, P@10 and the mean reciprocal rank are of facts whose object is one token, which can be ranked;
exact match, where objects of any length are asked for, is of all.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ptune_scale.files import write_json, write_text
from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.reader.prepare import HELD_OUT
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.metrics import Outcome, find_metric
from ptune_scale.task.record import Record
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.report import heading, plot, prediction_lines, versions

Results = dict[str, Any]
Answered = tuple[Record, Prediction]

_RANKED = ("p_at_1", "p_at_10", "mrr")


def build_results(job: LamaJob, results: Sequence[MethodResult]) -> Results:
    """Everything that was measured, ready for JSON; scores are shares between 0 and 1."""
    scored = {result.name: _scored(job, result) for result in results}
    for name, info in job.training.items():
        scored[name]["training"] = _renamed(info)
        scored[name]["throughput"] = _renamed(info.get("throughput", {}))
        scored[name]["training"].pop("throughput", None)
    first = next((scored[name] for name in job.training), {})
    controls = {result.name for result in results if result.control}
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
    answered = {
        task.name: list(zip(task.splits.test, result.predictions[task.name], strict=True))
        for task in job.tasks
    }
    every = [each for part in answered.values() for each in part]
    with_phrases = job.config.data.objects == "all"
    by_candidates = {}
    for name in _sets(job):
        relations = {task: _scores(part, name, with_phrases) for task, part in answered.items()}
        by_candidates[name] = {
            "micro": _scores(every, name, with_phrases),
            "macro": _mean(relations.values()),
            "relations": relations,
        }
    unseen = [
        each
        for task in job.tasks
        for known in [{r.answer for r in (*task.splits.train, *task.splits.dev)}]
        for each in answered[task.name]
        if each[0].answer not in known
    ]
    first = _sets(job)[0]
    return {
        "description": result.description,
        **by_candidates[first],
        "by_candidates": {
            name: {"micro": v["micro"], "macro": v["macro"]} for name, v in by_candidates.items()
        },
        "unseen_objects": _scores(unseen, first, with_phrases),
        **({"prompts": result.wordings} if result.wordings else {}),
    }


def _scores(answered: Sequence[Answered], candidates: str, with_phrases: bool) -> Results:
    """Scores of facts, ranked among a set of candidates; 0 where there are none."""
    outcomes = [
        Outcome(
            record.answer or "",
            found.answer,
            rank=None if found.ranks is None else found.ranks[candidates],
        )
        for record, found in answered
    ]
    ranked = [outcome for outcome in outcomes if outcome.rank is not None]
    scores: Results = {
        name: find_metric(name).compute(ranked) if ranked else 0.0 for name in _RANKED
    }
    scores["facts"] = len(ranked)
    if with_phrases:
        exact = find_metric("exact_match")
        scores["exact_match"] = exact.compute(outcomes) if outcomes else 0.0
        scores["all_facts"] = len(outcomes)
    return scores


def _mean(scores: Iterable[Results]) -> Results:
    """Mean over the relations that have such facts, each counting the same; sums of counts."""
    parts = list(scores)
    found: Results = {}
    for name in parts[0]:
        counted = "all_facts" if name == "exact_match" else "facts"
        values = [part[name] for part in parts if part[counted]]
        found[name] = sum(values) if name.endswith("facts") else fmean(values or [0.0])
    return found


def table(results: Results) -> str:
    """P@1 in percent by relation, methods and controls side by side, as Markdown.

    With objects of any length a second table has the exact match of whole phrases.
    """
    tables = [_table(results, "p_at_1", "facts")]
    if results["objects"] == "all":
        tables += ["Exact match of whole phrases:", _table(results, "exact_match", "all_facts")]
    return "\n\n".join(tables)


def _table(results: Results, metric: str, counted: str) -> str:
    columns = {**results["methods"], **results["controls"]}
    both = {"manual", "ptuning"} <= set(columns)
    head = ["relation", "facts", *columns, *(["gain"] if both else [])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in (*next(iter(columns.values()))["relations"], "micro", "macro"):
        cells = {k: c["relations"].get(name) or c[name] for k, c in columns.items()}
        facts = next(iter(cells.values()))[counted]
        values = [f"{100 * cell[metric]:.1f}" for cell in cells.values()]
        if both:
            gain = 100 * (cells["ptuning"][metric] - cells["manual"][metric])
            values.append(f"{gain:+.1f}")
        lines.append("| " + " | ".join([name, str(facts), *values]) + " |")
    return "\n".join(lines)


def notes(results: Results) -> str:
    """What stands beside the table: controls and what was left out."""
    among = results["candidates"]
    if among == "file":
        among = results["config"]["data"]["candidates"]
    lines = [f"P@1 in percent; answers ranked among: {among}."]
    everything = {**results["methods"], **results["controls"]}
    for name, scores in everything.items():
        parts = [
            f"{kind} {100 * v['micro']['p_at_1']:.1f}"
            for kind, v in scores["by_candidates"].items()
        ]
        unseen = scores["unseen_objects"]
        parts.append(
            f"objects never seen in training {100 * unseen['p_at_1']:.1f} ({unseen['facts']} facts)"
        )
        lines.append(f"- {name}: {scores['description']}. Micro P@1: {', '.join(parts)}.")
    if held := results["test_held_out_of_training"]:
        lines.append(f"- {', '.join(held)}: {HELD_OUT}.")
    lines += [f"- dropped: {n} x {why}" for why, n in results["dropped_facts"].items()]
    lines += [f"- {note}" for note in results["notes"]]
    return "\n".join(lines)


def prompts(results: Results) -> str:
    """The words that methods chose to ask, by relation, as Markdown; empty where none did."""
    chosen = {name: s["prompts"] for name, s in results["methods"].items() if "prompts" in s}
    return "\n\n".join(
        f"Prompts of {name}:\n\n"
        + "\n".join(f"- {relation}: `{text}`" for relation, text in texts.items())
        for name, texts in chosen.items()
    )


def write(job: LamaJob, answered: Sequence[MethodResult], results: Results) -> None:
    """Write results.json, results.md, predictions.jsonl and p_at_1.png.

    Raises:
        UserError: they cannot be written.
    """
    directory = job.output
    parts = (table(results), notes(results), prompts(results))
    write_json(directory / "results.json", results)
    write_text(directory / "results.md", "\n\n".join(filter(None, parts)) + "\n")
    lines = (json.dumps(line, ensure_ascii=False) for line in prediction_lines(job, answered))
    write_text(directory / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    bars = {
        method: {
            relation: (cell["p_at_1"], _error(cell))
            for relation, cell in {**scores["relations"], "micro": scores["micro"]}.items()
        }
        for method, scores in results["methods"].items()
    }
    title = f"P@1, {results['model']}, {results['candidates']}"
    plot(bars, title, directory / "p_at_1.png")


def _error(cell: Results) -> float:
    """Standard error of P@1."""
    share = cell["p_at_1"]
    return math.sqrt(share * (1 - share) / max(1, cell["facts"]))
