"""What came of a study: two scores of each prompt, and whether one tells the other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import pearsonr, spearmanr

_FEWEST = 3


@dataclass(frozen=True)
class PromptScore:
    """One prompt.

    Attributes:
        name: short, distinct within the study.
        text: as it was written.
        source: who wrote it.
        small, full: its scores between 0 and 1, on the small set and on the other one.
        paper: what Liu et al. 2021 report of it, in percent: "small" and "full", as far as they do.
    """

    name: str
    text: str
    source: str
    small: float
    full: float
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """All prompts of a relation or task.

    Attributes:
        subject: whose prompts they are.
        metric: that both scores are in.
        small_name, full_name: of the sets, with their sizes.
        prompts: in the order in which they were found.
        paper: what the paper's numbers are, "" where there are none.
        notes: what a reader has to know, such as prompts that were left out.
    """

    subject: str
    metric: str
    small_name: str
    full_name: str
    prompts: tuple[PromptScore, ...]
    paper: str = ""
    notes: tuple[str, ...] = ()

    def correlation(self) -> dict[str, float] | None:
        """Pearson's and Spearman's of the two scores; None where there is none to speak of."""
        return correlation([p.small for p in self.prompts], [p.full for p in self.prompts])

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "subject": self.subject,
            "metric": self.metric,
            "small": self.small_name,
            "full": self.full_name,
            "correlation": self.correlation(),
            "prompts": [vars(p) | {"paper": dict(p.paper)} for p in self.prompts],
            "paper": self.paper,
            "notes": list(self.notes),
        }


def correlation(small: Sequence[float], full: Sequence[float]) -> dict[str, float] | None:
    """Correlation of two scores over prompts.

    Returns:
        "pearson" and "spearman", each between -1 and 1; None with fewer than three prompts, or
        where all have the same score in one of the sets.
    """
    if len(small) < _FEWEST or len(set(small)) == 1 or len(set(full)) == 1:
        return None
    found = {
        "pearson": float(pearsonr(small, full).statistic),
        "spearman": float(spearmanr(small, full).statistic),
    }
    return found if all(map(math.isfinite, found.values())) else None
