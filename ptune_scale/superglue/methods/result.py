"""What every method returns for a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptune_scale.superglue.trials import Trial, deviation_of, mean_of


@dataclass(frozen=True)
class TaskResult:
    """Metrics of a method on a task, each between 0 and 1.

    Attributes:
        name: key in results.json.
        description: one line that says what was measured.
        dev, test: mean over trials.
        deviation: of the test metrics over trials, 0 for a single one.
        trials: by name, what it comes from.
    """

    name: str
    description: str
    dev: dict[str, float]
    test: dict[str, float]
    deviation: dict[str, float]
    trials: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        description: str,
        reported: Sequence[Trial],
        trials: Mapping[str, Trial] | None = None,
    ) -> "TaskResult":
        """Mean and deviation of the trials that are reported."""
        return cls(
            name,
            description,
            mean_of(reported, "dev"),
            mean_of(reported, "test"),
            deviation_of(reported, "test"),
            trials or {},
        )
