"""Each relation's own early stopping and its own best prompt."""

from typing import Any

import torch
from torch import Tensor

from ptune_scale.evaluate import Score


class Selection:
    """Keeps the best prompt of every relation by its development score.

    A score is better if P@1 is higher, or equal with a higher mean reciprocal rank; equal scores
    count as an improvement, as later prompts have seen more facts. A relation without
    development facts keeps its last prompt.

    Args:
        shape: (R, S, H) of the prompt matrix.
        patience: evaluations without improvement before a relation stops; 0 for never.
    """

    def __init__(self, shape: tuple[int, int, int], patience: int) -> None:
        self.patience = patience
        self.prompts = torch.zeros(shape)
        self.best = [(-1.0, -1.0)] * shape[0]
        self.best_visit = [0] * shape[0]
        self.misses = [0] * shape[0]
        self.stopped = [False] * shape[0]

    def record(self, relation: int, score: Score, prompt: Tensor, visit: int) -> bool:
        """Take note of an evaluation.

        Args:
            prompt: (S, H), the relation's row of P when it was evaluated.

        Returns:
            whether this is the best prompt so far.
        """
        result = (score.p_at_1, score.mrr)
        if score.facts == 0 or result >= self.best[relation]:
            self.best[relation] = result
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
        self.best = [tuple(pair) for pair in state["best"]]
        self.best_visit = list(state["best_visit"])
        self.misses = list(state["misses"])
        self.stopped = list(state["stopped"])
