"""What ``eval`` can be told; imports nothing heavy."""

from collections.abc import Iterator
from dataclasses import dataclass

from ptune_scale.flags import flag, names_in
from ptune_scale.run.config import ParallelConfig, RanksConfig, ServedConfig
from ptune_scale.tune.config import AskedConfig, UseConfig


@dataclass(frozen=True, kw_only=True)
class MeasureConfig(AskedConfig):
    """what is measured"""

    input: str = flag(
        "", "records with their right answers (.jsonl .json .csv .parquet)", common=True
    )
    metrics: str = flag("", "comma-separated metrics; '': those of the kind of answer", common=True)
    harness: str = flag(
        "",
        "comma-separated tasks of lm-evaluation-harness, ptune_lama, ptune_cb and ptune_rte among "
        "them (pip install lm-eval)",
        common=True,
    )
    data_dir: str = flag("", "directory that tasks of the harness read, where they read one")
    limit: int = flag(0, "most records of a task; 0: all", at_least=0)
    output: str = flag("", "JSON file for everything that was measured")


@dataclass(frozen=True, kw_only=True)
class EvalConfig(RanksConfig):
    """Everything that an evaluating run can be told."""

    measure: MeasureConfig = MeasureConfig()
    use: UseConfig = UseConfig()
    served: ServedConfig = ServedConfig()
    parallel: ParallelConfig = ParallelConfig()

    def contradictions(self) -> Iterator[str]:
        if not self.measure.input and not self.measure.harness:
            yield "give --input FILE with right answers, or --harness TASKS"
        if self.measure.metrics and not self.measure.input:
            yield "--metrics without --input: tasks of the harness have their own"

    @property
    def harness_tasks(self) -> tuple[str, ...]:
        return names_in(self.measure.harness)
