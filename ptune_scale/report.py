"""Results as JSON, as a table and as a plot."""

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ptune_scale.evaluate import Score, macro
from ptune_scale.job import Job
from ptune_scale.methods.result import MethodResult

_CONTROLS = ("majority", "manual_train_objects", "manual_trailing_space")


def build_results(job: Job, results: list[MethodResult]) -> dict[str, Any]:
    """Everything that was measured, ready for JSON; scores are shares between 0 and 1."""
    scored = {result.name: _score(job, result) for result in results}
    return {
        "model": job.model_name,
        "world_size": job.function.world.size,
        "layout": job.function.mesh.degrees.name,
        "seed": job.config.train.seed,
        "candidates": job.candidates.names[0],
        "methods": {k: v for k, v in scored.items() if k not in _CONTROLS},
        "controls": {k: v for k, v in scored.items() if k in _CONTROLS},
        "training": job.training,
        "throughput": job.throughput,
        "dropped_facts": {k: v for k, v in job.facts.dropped.items() if v},
        "test_held_out_of_training": [r.id for r in job.facts.relations if r.test_held_out],
        "config": job.config.as_dict(),
        "versions": _versions(),
    }


def _score(job: Job, result: MethodResult) -> dict[str, Any]:
    relations = job.facts.relations
    sizes = [len(r.test) for r in relations]
    by_candidates = {}
    for column, name in enumerate(job.candidates.names):
        ranks = result.ranks[:, column]
        scores = [Score.of(part) for part in ranks.split(sizes)]
        by_candidates[name] = {
            "micro": _as_dict(Score.of(ranks)),
            "macro": _as_dict(macro(scores)),
            "relations": {r.id: _as_dict(s) for r, s in zip(relations, scores, strict=True)},
        }
    unseen = torch.tensor(
        [
            fact.label not in known
            for r in relations
            for known in [set(r.train_objects)]
            for fact in r.test
        ]
    )
    main = by_candidates[job.candidates.names[0]]
    return {
        "description": result.description,
        **main,
        "by_candidates": {
            name: {"micro": v["micro"], "macro": v["macro"]} for name, v in by_candidates.items()
        },
        "unseen_objects": _as_dict(Score.of(result.ranks[unseen, 0])),
    }


def _as_dict(score: Score) -> dict[str, float]:
    return {
        "p_at_1": score.p_at_1,
        "p_at_10": score.p_at_10,
        "mrr": score.mrr,
        "facts": score.facts,
    }


def table(results: dict[str, Any]) -> str:
    """P@1 in percent by relation, methods and controls side by side, as Markdown."""
    columns = {**results["methods"], **results["controls"]}
    both = {"manual", "ptuning"} <= set(columns)
    head = ["relation", "facts", *columns, *(["gain"] if both else [])]
    rows = []
    first = next(iter(columns.values()))
    for name in first["relations"]:
        rows.append((name, {k: c["relations"][name] for k, c in columns.items()}))
    for average in ("micro", "macro"):
        rows.append((average, {k: c[average] for k, c in columns.items()}))
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, cells in rows:
        facts = next(iter(cells.values()))["facts"]
        values = [f"{100 * cell['p_at_1']:.1f}" for cell in cells.values()]
        if both:
            gain = 100 * (cells["ptuning"]["p_at_1"] - cells["manual"]["p_at_1"])
            values.append(f"{gain:+.1f}")
        lines.append("| " + " | ".join([name, str(facts), *values]) + " |")
    return "\n".join(lines)


def notes(results: dict[str, Any]) -> str:
    """What stands beside the table: controls and what was left out."""
    lines = [f"P@1 in percent; answers ranked among: {results['candidates']}."]
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
        lines.append(
            f"- {', '.join(held)}: no test facts in the data; "
            "a quarter of the training facts was held out by subject."
        )
    lines += [f"- dropped: {n} x {why}" for why, n in results["dropped_facts"].items()]
    return "\n".join(lines)


def write(results: dict[str, Any], directory: Path) -> None:
    """Write results.json, results.md and, with both methods, p_at_1.png.

    Where nothing was trained this time, the throughput of results that are there already is kept.
    """
    earlier = directory / "results.json"
    if not results["throughput"] and earlier.is_file():
        results = {**results, "throughput": json.loads(earlier.read_text())["throughput"]}
    for name, text in (
        ("results.json", json.dumps(results, indent=1)),
        ("results.md", f"{table(results)}\n\n{notes(results)}\n"),
    ):
        scratch = directory / f".{name}.partial"
        scratch.write_text(text)
        os.replace(scratch, directory / name)
    if {"manual", "ptuning"} <= set(results["methods"]):
        _plot(results, directory / "p_at_1.png")


def _plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    names = list(results["methods"]["manual"]["relations"])
    figure = Figure(figsize=(max(5, 0.5 * len(names) + 2), 4), layout="constrained")
    axes = figure.add_subplot()
    for offset, method in ((-0.2, "manual"), (0.2, "ptuning")):
        scores = results["methods"][method]["relations"]
        heights = [100 * scores[name]["p_at_1"] for name in names]
        axes.bar([i + offset for i in range(len(names))], heights, 0.4, label=method)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_ylabel("P@1 (%)")
    axes.set_title(f"{results['model']}, {results['candidates']}")
    axes.legend()
    figure.savefig(path, dpi=120)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("ptune_scale", "torch", "transformers", "deepspeed", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
