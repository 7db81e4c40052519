"""A frozen backbone, or this rank's part of one, that rows are run through.

Shapes: N rows, K targets in a row, R tasks, S slots, H embedding size, W this rank's part of the
vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.past import Past
from ptune_scale.backbone.text_cache import Behind, Missing
from ptune_scale.parallel.rows import cut
from ptune_scale.task.example import Batch

Outcome = Callable[[Tensor, Batch], Tensor]
"""From logits (N, K, W) of this rank's part of the vocabulary to a value per row."""


class Engine(Protocol):
    """What a layout makes of a backbone on this rank.

    Attributes:
        lm: the backbone, or this rank's part of it.
        holds_prompts: this rank splices P, so dP arises here.
        holds_logits: this rank sees logits, so outcomes arise here.
    """

    lm: FrozenLM
    holds_prompts: bool
    holds_logits: bool

    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor | None:
        """Run rows through the model.

        Args:
            prompts: (R, S, H); with ``backward`` the gradient of the outcome's sum is added to
                its ``grad`` where this rank holds prompts.
            num_parts: the rows may be computed in so many parts, to need less memory.

        Returns:
            the outcome, (N, ...), where this rank holds logits.
        """
        ...


class WholeEngine:
    """The rank has all layers, of which each matrix may be whole or a part.

    Args:
        after_forward: called after each pass, for example to drop gathered weights.
        agree: where all replicas have to make the same number of passes, the largest of a number
            over all ranks.
    """

    holds_prompts = holds_logits = True

    def __init__(
        self,
        lm: FrozenLM,
        after_forward: Callable[[], None] = lambda: None,
        *,
        agree: Callable[[int], int] = lambda number: number,
    ) -> None:
        self.lm = lm
        self.after_forward = after_forward
        self.agree = agree

    def forward(self, batch: Batch, prompts: Tensor, behind: Behind | None = None) -> Tensor:
        """Logits (N, K, W) of one part of the rows, behind their texts if these are kept."""
        return self.lm(batch, prompts, behind=behind)

    def backward(self, total: Tensor) -> None:
        """Propagate the outcome's sum over one part of the rows."""
        total.backward()

    @torch.no_grad()
    def go_on(self, batch: Batch, prompts: Tensor, past: Past) -> Tensor:
        """Logits (N, K, W) of the next tokens of rows whose earlier ones are in ``past``."""
        logits = self.lm(batch, prompts, past=past)
        self.after_forward()
        return logits

    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor:
        """As ``Engine.run``."""
        results = []
        for part in cut(batch, num_parts):
            behind = self._behind_texts(part, prompts)
            with torch.set_grad_enabled(backward):
                result = outcome(self.forward(part, prompts, behind), part)
            if backward:
                self.backward(result.sum())
            self.after_forward()
            results.append(result.detach())
        return torch.cat(results)

    @torch.no_grad()
    def _behind_texts(self, batch: Batch, prompts: Tensor) -> Behind | None:
        """The batch behind its texts, those that were not there computed; None without any."""
        cache, texts = self.lm.texts, self.lm.texts_of(batch)
        if cache is None or texts is None:
            return None

        def compute(missing: Sequence[Missing] | None) -> None:
            missing = missing or [Missing(batch.examples[0].ids[:1], 0)]
            rows, behind = cache.behind_missing(missing, batch.device)
            self.lm(rows, prompts, behind=behind)
            self.after_forward()

        if not cache.complete(texts, compute, self.agree):
            return None
        return cache.behind(batch, prompts.shape[1], rounds=self.lm.replays)
