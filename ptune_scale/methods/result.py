"""What every method returns."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class MethodResult:
    """Ranks of the right answers to all test facts.

    Attributes:
        name: key in results.json.
        description: one line that says what was measured.
        ranks: (facts, C) int64 over the job's C sets of candidates; facts in the job's order.
        prompts: by relation, the words that were asked, where the method chose them.
    """

    name: str
    description: str
    ranks: Tensor
    prompts: dict[str, str] = field(default_factory=dict)
