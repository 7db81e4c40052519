"""Each relation's own early stopping and its own best prompt."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Rule = Literal["standard_error", "reference", "reference_strict"]
"""Which evaluations keep a prompt, and which count as misses.

standard_error: a score within one standard error of the best P@1 so far is as good (Breiman et al.
    1984, section 3.4.3, chose among trees so): development sets are small, so the highest of many
    scores is mostly luck, and a later prompt has seen more.
reference: as the published code on facts: a score that equals the best or beats it.
reference_strict: as the published code on SuperGLUE: such a score, too, but all metrics have to be
    beaten, not equalled, or the evaluation counts as a miss.
"""


@dataclass(frozen=True, slots=True)
class DevScore:
    """How well a prompt does on development examples.

    Attributes:
        values: metrics between 0 and 1, the main one first; more is better.
        count: number of examples.
    """

    values: tuple[float, ...]
    count: int

    @property
    def main(self) -> float:
        return self.values[0]


class Selection:
    """Keeps the latest prompt of every relation whose development score is as good as the best.

    A relation without development examples keeps its last prompt.

    Args:
        shape: (R, S, H) of the prompt matrix.
        patience: misses in a row before a relation stops; 0 for never.
        rule: what is as good, and what is a miss.
    """

    def __init__(
        self, shape: tuple[int, int, int], patience: int, rule: Rule = "standard_error"
    ) -> None:
        self.patience = patience
        self.rule = rule
        self.prompts = torch.zeros(shape)
        self.best: list[float] = [0.0] * shape[0]
        self.best_values: list[tuple[float, ...]] = [()] * shape[0]
        self.best_visit = [0] * shape[0]
        self.misses = [0] * shape[0]
        self.stopped = [False] * shape[0]

    def record(self, relation: int, score: DevScore, prompt: Tensor, visit: int) -> bool:
        """Take note of an evaluation.

        Args:
            prompt: (S, H), the relation's row of P when it was evaluated.

        Returns:
            whether this prompt is kept.
        """
        before = self.best_values[relation] or (0.0,) * len(score.values)
        keeps = self._keeps(score, before)
        beats = all(new > old for new, old in zip(score.values, before, strict=True))
        self.best[relation] = max(self.best[relation], score.main)
        if keeps:
            self.best_visit[relation] = visit
            self.prompts[relation] = prompt
        if self.rule == "standard_error":
            best = zip(score.values, before, strict=True)
            self.best_values[relation] = tuple(max(pair) for pair in best)
        elif keeps:
            self.best_values[relation] = score.values
        if keeps and (beats or self.rule != "reference_strict"):
            self.misses[relation] = 0
        else:
            self.misses[relation] += 1
            if self.patience and self.misses[relation] >= self.patience:
                self.stopped[relation] = True
        return keeps

    def _keeps(self, score: DevScore, before: tuple[float, ...]) -> bool:
        if self.rule == "standard_error":
            best = max(before[0], score.main)
            return score.main >= best - math.sqrt(best * (1 - best) / max(1, score.count))
        return all(new >= old for new, old in zip(score.values, before, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts.clone(),
            "best": list(self.best),
            "best_values": list(self.best_values),
            "best_visit": list(self.best_visit),
            "misses": list(self.misses),
            "stopped": list(self.stopped),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.prompts = state["prompts"].clone()
        self.best = list(state["best"])
        # Checkpoints of before there was more than one metric.
        values = state.get("best_values", [(best,) for best in self.best])
        self.best_values = [tuple(value) for value in values]
        self.best_visit = list(state["best_visit"])
        self.misses = list(state["misses"])
        self.stopped = list(state["stopped"])
