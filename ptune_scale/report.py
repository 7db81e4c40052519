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
    for name, training in job.training.items():
        scored[name]["training"] = training
        scored[name]["throughput"] = job.throughput.get(name, {})
    first = next(iter(job.training), None)
    return {
        "model": job.backbone.name,
        "world_size": job.function.world.size,
        "layout": job.function.mesh.degrees.name,
        "seed": job.config.train.seed,
        "candidates": job.candidates.names[0],
        "methods": {k: v for k, v in scored.items() if k not in _CONTROLS},
        "controls": {k: v for k, v in scored.items() if k in _CONTROLS},
        "training": job.training.get(first, {}),
        "throughput": job.throughput.get(first, {}),
        "dropped_facts": {k: v for k, v in job.facts.dropped.items() if v},
        "test_held_out_of_training": [r.id for r in job.facts.relations if r.test_held_out],
        "config": job.config.as_dict(),
        "versions": versions(),
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
        **({"prompts": result.prompts} if result.prompts else {}),
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


def prompts(results: dict[str, Any]) -> str:
    """The words that methods chose to ask, by relation, as Markdown; empty where none did."""
    chosen = {name: s["prompts"] for name, s in results["methods"].items() if "prompts" in s}
    return "\n\n".join(
        f"Prompts of {name}:\n\n"
        + "\n".join(f"- {relation}: `{text}`" for relation, text in texts.items())
        for name, texts in chosen.items()
    )


def write(results: dict[str, Any], directory: Path) -> None:
    """Write results.json, results.md and p_at_1.png.

    Where nothing was trained this time, the throughput of results that are there already is kept.
    """
    earlier = directory / "results.json"
    if earlier.is_file():
        before = json.loads(earlier.read_text())
        for now, then in (
            (results, before),
            *(
                (scores, before["methods"].get(name, {}))
                for name, scores in results["methods"].items()
                if "training" in scores
            ),
        ):
            if not now["throughput"]:
                now["throughput"] = then.get("throughput", {})
    parts = (table(results), notes(results), prompts(results))
    for name, text in (
        ("results.json", json.dumps(results, indent=1)),
        ("results.md", "\n\n".join(filter(None, parts)) + "\n"),
    ):
        scratch = directory / f".{name}.partial"
        scratch.write_text(text)
        os.replace(scratch, directory / name)
    if results["methods"]:
        _plot(results, directory / "p_at_1.png")


def _plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    methods = results["methods"]
    names = [*next(iter(methods.values()))["relations"], "micro"]
    width = 0.8 / len(methods)
    size = (max(5, (0.3 + 0.1 * len(methods)) * len(names) + 2), 4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    for place, (method, scores) in enumerate(methods.items()):
        cells = [*scores["relations"].values(), scores["micro"]]
        left = (place - (len(methods) - 1) / 2) * width
        heights = [100 * cell["p_at_1"] for cell in cells]
        axes.bar([i + left for i in range(len(names))], heights, width, label=method)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_ylabel("P@1 (%)")
    axes.set_title(f"{results['model']}, {results['candidates']}")
    axes.legend()
    figure.savefig(path, dpi=120)


def versions() -> dict[str, str]:
    """Installed versions of what results depend on."""
    found = {}
    for name in ("ptune_scale", "torch", "transformers", "deepspeed", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
