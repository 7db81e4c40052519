"""Each task's own early stopping and its own best prompt."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ptune_scale.train.config import Rule


@dataclass(frozen=True, slots=True)
class DevScore:
    """How well a prompt does on development records.

    Attributes:
        values: metrics between 0 and 1, the main one first; more is better.
        count: number of records.
    """

    values: tuple[float, ...]
    count: int

    @property
    def main(self) -> float:
        return self.values[0]


class Selection:
    """Keeps the latest prompt of every task whose development score is as good as the best.

    A task without development records keeps its last prompt.

    Args:
        shape: (R, S, H) of the prompt matrix.
        patience: misses in a row before a task stops; 0 for never.
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

    def record(self, task: int, score: DevScore, prompt: Tensor, visit: int) -> bool:
        """Take note of an evaluation.

        Args:
            prompt: (S, H), the task's row of P when it was evaluated.

        Returns:
            whether this prompt is kept.
        """
        if not score.count:  # nothing speaks against the latest prompt, and nothing for stopping
            self.best_visit[task] = visit
            self.prompts[task] = prompt
            return True
        before = self.best_values[task] or (0.0,) * len(score.values)
        keeps = self._keeps(score, before)
        beats = all(new > old for new, old in zip(score.values, before, strict=True))
        self.best[task] = max(self.best[task], score.main)
        if keeps:
            self.best_visit[task] = visit
            self.prompts[task] = prompt
        if self.rule == "standard_error":
            best = zip(score.values, before, strict=True)
            self.best_values[task] = tuple(max(pair) for pair in best)
        elif keeps:
            self.best_values[task] = score.values
        if keeps and (beats or self.rule != "reference_strict"):
            self.misses[task] = 0
        else:
            self.misses[task] += 1
            if self.patience and self.misses[task] >= self.patience:
                self.stopped[task] = True
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
        self.best_values = [tuple(value) for value in state["best_values"]]
        self.best_visit = list(state["best_visit"])
        self.misses = list(state["misses"])
        self.stopped = list(state["stopped"])
