"""Metrics over ranks of answers: P@1, P@10 and mean reciprocal rank."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptune_scale.data.batch import Example, collate
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.sampler import cut_by_tokens
from ptune_scale.parallel import PromptFunction
from ptune_scale.selection import DevScore


@dataclass(frozen=True)
class Score:
    """How well a set of facts was answered.

    Attributes:
        p_at_1, p_at_10: share of facts whose answer is first, or among the first ten.
        mrr: mean of 1/rank.
        facts: number of facts.
    """

    p_at_1: float
    p_at_10: float
    mrr: float
    facts: int

    @property
    def for_selection(self) -> DevScore:
        """What early stopping looks at."""
        return DevScore((self.p_at_1,), self.facts)

    @classmethod
    def of(cls, ranks: Tensor) -> "Score":
        """From ranks (N,), 1 is best."""
        if not len(ranks):
            return cls(0.0, 0.0, 0.0, 0)
        ranks = ranks.double()
        return cls(
            float((ranks <= 1).double().mean()),
            float((ranks <= 10).double().mean()),
            float((1 / ranks).mean()),
            len(ranks),
        )


def macro(scores: Sequence[Score]) -> Score:
    """Mean over relations, each counting the same."""
    count = max(1, len(scores))
    return Score(
        sum(s.p_at_1 for s in scores) / count,
        sum(s.p_at_10 for s in scores) / count,
        sum(s.mrr for s in scores) / count,
        sum(s.facts for s in scores),
    )


def all_ranks(
    function: PromptFunction,
    examples: Sequence[Example],
    prompts: Tensor,
    candidates: Candidates,
    *,
    batch_size: int,
    pad: int,
    batch_tokens: int = 0,
    after_batch: Callable[[int], None] = lambda rows: None,
) -> Tensor:
    """Rank every example's answer, in batches of similar length.

    Args:
        examples: at least one; all with the same number K of targets.
        batch_size: most examples in a batch.
        batch_tokens: most tokens in a batch, padding counted, 0 for no limit; an example that is
            longer is a batch of its own.
        after_batch: called with the size of each batch that is done.

    Returns:
        ranks of all examples in their order, (len(examples), K, C) int64.
    """
    shape = (len(examples), len(examples[0].targets), len(candidates.names))
    ranks = torch.empty(shape, dtype=torch.int64)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    lengths = [len(examples[i].ids) for i in order]
    for cut in cut_by_tokens(lengths, batch_tokens or None, rows=batch_size, padded=True):
        index = order[cut]
        batch = collate([examples[i] for i in index], pad)
        ranks[index] = function.ranks(batch, prompts, candidates)
        after_batch(len(index))
    return ranks
