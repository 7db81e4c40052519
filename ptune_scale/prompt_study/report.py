"""A study as JSON, as a table and as a plot."""

import json
import os
from pathlib import Path
from typing import Any

from ptune_scale.parallel import Mesh
from ptune_scale.prompt_study.config import PromptStudyConfig
from ptune_scale.prompt_study.measured import Measured, PromptScore
from ptune_scale.report import versions

NAME = "prompt_study"
"""Files are called so, with .json, .md and .png."""


def build_results(config: PromptStudyConfig, mesh: Mesh, measured: Measured) -> dict[str, Any]:
    """Everything that was measured, ready for JSON; scores are shares between 0 and 1."""
    return {
        "model": config.model.model,
        "world_size": mesh.world.size,
        "layout": mesh.degrees.name,
        **measured.as_dict(),
        "config": config.as_dict(),
        "versions": versions(),
    }


def table(model: str, measured: Measured) -> str:
    """The prompts, the best one on the large set first, as Markdown."""
    papers = [n for n in ("small", "full") if any(n in prompt.paper for prompt in measured.prompts)]
    head = ["prompt", "source", measured.small_name, measured.full_name]
    head += [f"paper, {name}" for name in papers]
    lines = [f"**{measured.subject}, {model}: {measured.metric} in percent**", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for prompt in sorted(measured.prompts, key=lambda p: -p.full):
        cells = [_code(prompt.text), prompt.source]
        cells += [f"{100 * prompt.small:.1f}", f"{100 * prompt.full:.1f}"]
        cells += [f"{prompt.paper[name]:g}" if name in prompt.paper else "" for name in papers]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"- {line}" for line in _findings(measured))]
    lines += [f"- paper: {measured.paper}"] if papers else []
    return "\n".join([*lines, *(f"- {note}" for note in measured.notes)])


def _findings(measured: Measured) -> list[str]:
    prompts = measured.prompts
    scores = [100 * prompt.full for prompt in prompts]
    lines = [f"{len(prompts)} prompts, from {min(scores):.1f} to {max(scores):.1f}"]
    chosen = max(prompts, key=lambda p: p.small)
    best = max(prompts, key=lambda p: p.full)
    lines.append(
        f"the best on {measured.small_name} has {100 * chosen.full:.1f} on {measured.full_name}, "
        f"the best there {100 * best.full:.1f}"
    )
    return [*lines, _correlation(measured)]


def _correlation(measured: Measured) -> str:
    found = measured.correlation()
    if found is None:
        return "correlation: none, for there are fewer than three prompts or all score the same"
    return f"correlation: Pearson {found['pearson']:.2f}, Spearman {found['spearman']:.2f}"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def write(results: dict[str, Any], measured: Measured, directory: Path) -> None:
    """Write prompt_study.json, prompt_study.md and prompt_study.png.

    Raises:
        OSError: they cannot be written.
    """
    for suffix, text in (
        ("json", json.dumps(results, indent=1)),
        ("md", table(results["model"], measured) + "\n"),
    ):
        scratch = directory / f".{NAME}.{suffix}.partial"
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, directory / f"{NAME}.{suffix}")
    _plot(results["model"], measured, directory / f"{NAME}.png")


def _plot(model: str, measured: Measured, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.add_subplot()
    by_source: dict[str, list[PromptScore]] = {}
    for prompt in measured.prompts:
        # Lines of one file are one source.
        by_source.setdefault(prompt.source.partition(":")[0], []).append(prompt)
    for source, prompts in by_source.items():
        small, full = ([100 * getattr(p, part) for p in prompts] for part in ("small", "full"))
        axes.scatter(small, full, label=source, alpha=0.7)
    axes.axline((0, 0), slope=1, color="gray", linewidth=0.5)
    scores = [100 * score for p in measured.prompts for score in (p.small, p.full)]
    room = 0.05 * (max(scores) - min(scores)) or 1.0
    axes.set_xlim(min(scores) - room, max(scores) + room)
    axes.set_ylim(min(scores) - room, max(scores) + room)
    axes.set_xlabel(f"{measured.metric} (%), {measured.small_name}")
    axes.set_ylabel(f"{measured.metric} (%), {measured.full_name}")
    axes.set_title(f"{measured.subject}, {model}\n{_correlation(measured)}", fontsize="small")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
