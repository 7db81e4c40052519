"""What came of a study: two scores of each prompt, and whether one tells the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import pearsonr, spearmanr

from ptune_scale.files import write_file, write_json, write_text


@dataclass(frozen=True)
class PromptScore:
    """One prompt, as it was written, and who wrote it.

    Attributes:
        small, full: its scores between 0 and 1, on the small set and on the other one.
        paper: what Liu et al. 2021 report of it, in percent: "small" and "full", as far as they do.
    """

    text: str
    source: str
    small: float
    full: float
    paper: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """All prompts of a relation or task.

    Attributes:
        model: that was asked.
        subject: whose prompts they are.
        metric: that both scores are in.
        candidates: what answers were ranked among.
        small, full: names of the two sets, with their sizes.
        prompts: in the order in which they were found.
        notes: what a reader has to know, such as prompts that were left out.
    """

    model: str
    subject: str
    metric: str
    candidates: str
    small: str
    full: str
    prompts: tuple[PromptScore, ...]
    notes: tuple[str, ...] = ()

    def correlation(self) -> dict[str, float] | None:
        """See ``correlation``; of the prompts' two scores."""
        return correlation([p.small for p in self.prompts], [p.full for p in self.prompts])

    def table(self) -> str:
        """The prompts, the best one on the large set first, as Markdown."""
        papers = [n for n in ("small", "full") if any(n in prompt.paper for prompt in self.prompts)]
        head = ["prompt", "source", self.small, self.full, *(f"paper, {name}" for name in papers)]
        lines = [f"**{self.subject}, {self.model}: {self.metric} in percent**", ""]
        lines += [_line(head), "|" + "---|" * len(head)]
        for prompt in sorted(self.prompts, key=lambda p: -p.full):
            cells = [f"`{prompt.text}`".replace("|", "\\|"), prompt.source]
            cells += [f"{100 * score:.1f}" for score in (prompt.small, prompt.full)]
            cells += [f"{prompt.paper[n]:g}" if n in prompt.paper else "" for n in papers]
            lines.append(_line(cells))
        scores = [100 * prompt.full for prompt in self.prompts]
        chosen = max(self.prompts, key=lambda p: p.small)
        findings = [
            f"{len(scores)} prompts, from {min(scores):.1f} to {max(scores):.1f}",
            f"the best on {self.small} has {100 * chosen.full:.1f} on {self.full}, "
            f"the best there {max(scores):.1f}",
            self._correlation(),
            *self.notes,
        ]
        return "\n".join([*lines, "", *(f"- {line}" for line in findings)])

    def write(self, directory: Path, also: dict[str, Any]) -> None:
        """Write results.json, results.md and prompt_study.png, and show the table.

        Args:
            also: for results.json, which has scores as shares between 0 and 1.

        Raises:
            UserError: they cannot be written.
        """
        prompts = [vars(prompt) for prompt in self.prompts]
        results = {**vars(self), "prompts": prompts, "correlation": self.correlation(), **also}
        write_json(directory / "results.json", results)
        write_text(directory / "results.md", f"{self.table()}\n")
        write_file(directory / "prompt_study.png", self._plot)
        print(f"\n{self.table()}\n\nresults in {directory}/")

    def _correlation(self) -> str:
        found = self.correlation()
        if found is None:
            return "correlation: none, for there are fewer than three prompts or all score the same"
        return f"correlation: Pearson {found['pearson']:.2f}, Spearman {found['spearman']:.2f}"

    def _plot(self, path: Path) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.5, 5), layout="constrained")
        axes = figure.add_subplot()
        # Lines of one file are one source.
        for source in dict.fromkeys(p.source.partition(":")[0] for p in self.prompts):
            own = [p for p in self.prompts if p.source.partition(":")[0] == source]
            small, full = [100 * p.small for p in own], [100 * p.full for p in own]
            axes.scatter(small, full, label=source, alpha=0.7)
        axes.axline((0, 0), slope=1, color="gray", linewidth=0.5)
        axes.set_xlabel(f"{self.metric} (%), {self.small}")
        axes.set_ylabel(f"{self.metric} (%), {self.full}")
        title = f"{self.subject}, {self.model}\n{self._correlation()}"
        axes.set_title(title, fontsize="small")
        axes.legend(fontsize="small")
        figure.savefig(path, dpi=120)


def correlation(small: Sequence[float], full: Sequence[float]) -> dict[str, float] | None:
    """Correlation of two scores over prompts.

    Returns:
        "pearson" and "spearman", each between -1 and 1; None with fewer than three prompts, or
        where all have the same score in one of the sets.
    """
    if len(small) < 3 or len(set(small)) == 1 or len(set(full)) == 1:
        return None
    found = {
        "pearson": float(pearsonr(small, full).statistic),
        "spearman": float(spearmanr(small, full).statistic),
    }
    return found if all(map(math.isfinite, found.values())) else None


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
