"""What a benchmark can be told."""

from dataclasses import dataclass
from typing import Literal

from ptune_scale.flag import check_flags, flag, names_in


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """the measurement"""

    sections: str = flag(
        "main",
        "comma-separated: main, ablations, batch, length, relations, apart, superglue, ranks, cuda",
    )
    rounds: int = flag(5, "rounds of the main section", at_least=1)
    section_rounds: int = flag(3, "rounds of each point of the other sections", at_least=1)
    facts_per_round: int = flag(
        128, "facts that each side trains on in a round, filled up to whole steps", at_least=1
    )
    warmup_steps: int = flag(2, "steps of each side before anything is timed", at_least=1)
    threads: int = flag(1, "CPU threads of every side", at_least=1)
    clock: Literal["cpu", "wall"] = flag(
        "cpu",
        "what ratios and rates are computed from; both are recorded. CPU time is that of all "
        "threads and hardly depends on what else runs on the machine",
    )
    memory_steps: int = flag(
        3, "steps in which each side's peak memory is measured, 0: not at all", at_least=0
    )
    ablations: str = flag("all", "comma-separated lines of the section ablations, or 'all'")
    ranks: str = flag("1,2", "numbers of ranks for the section ranks")
    output_dir: str = flag("", "where results go; by default runs/bench-DATE-TIME")

    def __post_init__(self) -> None:
        """Check all values at once.

        Raises:
            UserError: names every value that cannot be.
        """
        good = all(part.isdecimal() and int(part) for part in self.ranks.split(","))
        ranks = f"--ranks {self.ranks!r}: write numbers of ranks, as in 1,2"
        check_flags([self], [] if good else [ranks])

    @property
    def section_names(self) -> tuple[str, ...]:
        return names_in(self.sections)

    @property
    def ablation_names(self) -> tuple[str, ...]:
        """Those that are asked for; none for all."""
        return () if self.ablations == "all" else names_in(self.ablations)

    @property
    def rank_counts(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.ranks.split(","))
