"""Each relation's own early stopping and its own best prompt."""

import math
from typing import Any

import torch
from torch import Tensor

from ptune_scale.evaluate import Score


class Selection:
    """Keeps the latest prompt of every relation whose development score is as good as the best.

    As good means within one standard error of the best P@1 so far (Breiman et al. 1984, section
    3.4.3, chose among trees so): a relation has few development facts, so the highest of many
    scores is mostly luck, and a later prompt has seen more facts. A relation without development
    facts keeps its last prompt.

    Args:
        shape: (R, S, H) of the prompt matrix.
        patience: worse evaluations in a row before a relation stops; 0 for never.
    """

    def __init__(self, shape: tuple[int, int, int], patience: int) -> None:
        self.patience = patience
        self.prompts = torch.zeros(shape)
        self.best = [0.0] * shape[0]
        self.best_visit = [0] * shape[0]
        self.misses = [0] * shape[0]
        self.stopped = [False] * shape[0]

    def record(self, relation: int, score: Score, prompt: Tensor, visit: int) -> bool:
        """Take note of an evaluation.

        Args:
            prompt: (S, H), the relation's row of P when it was evaluated.

        Returns:
            whether this prompt is kept.
        """
        best = max(self.best[relation], score.p_at_1)
        self.best[relation] = best
        if score.p_at_1 >= best - math.sqrt(best * (1 - best) / max(1, score.facts)):
            self.best_visit[relation] = visit
            self.misses[relation] = 0
            self.prompts[relation] = prompt
            return True
        self.misses[relation] += 1
        if self.patience and self.misses[relation] >= self.patience:
            self.stopped[relation] = True
        return False

    def state_dict(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts.clone(),
            "best": list(self.best),
            "best_visit": list(self.best_visit),
            "misses": list(self.misses),
            "stopped": list(self.stopped),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.prompts = state["prompts"].clone()
        self.best = list(state["best"])
        self.best_visit = list(state["best_visit"])
        self.misses = list(state["misses"])
        self.stopped = list(state["stopped"])
