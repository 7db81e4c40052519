"""The waist of the system: (batch, P) -> (losses, dP).

Left of it, everything is ordinary single-process PyTorch that every rank repeats. Right of it is
the frozen backbone, in whatever layout. What crosses the network for learning is dP.

Shapes: N rows, K targets in a row, R relations, S slots, H embedding size, V vocabulary, C sets
of candidates.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.narrow_head import NarrowHead
from ptune_scale.data.batch import Batch
from ptune_scale.data.candidates import Candidates
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.vocabulary import Vocabulary

Outcome = Callable[[Tensor, Batch], Tensor]
"""From logits (N, K, W) of this rank's part of the vocabulary to a value per row."""


class Engine(Protocol):
    """A frozen backbone, or this rank's part of one, that can be run.

    Attributes:
        holds_prompts: this rank splices P, so dP arises here.
        holds_logits: this rank sees logits, so outcomes arise here.
    """

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
        loss_head: takes the place of the head in passes with a gradient.
    """

    holds_prompts = holds_logits = True

    def __init__(
        self,
        lm: FrozenLM,
        after_forward: Callable[[], None] = lambda: None,
        loss_head: NarrowHead | None = None,
    ) -> None:
        self.lm = lm
        self.after_forward = after_forward
        self.loss_head = loss_head

    def _head(self, backward: bool) -> AbstractContextManager[None]:
        return self.loss_head if backward and self.loss_head else nullcontext()

    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor:
        rows_per_part = math.ceil(len(batch) / num_parts)
        index = torch.arange(len(batch), device=batch.ids.device)
        results = []
        for rows in index.split(rows_per_part):
            part = batch.rows(rows) if num_parts > 1 else batch
            with torch.set_grad_enabled(backward), self._head(backward):
                result = outcome(self.lm(part, prompts), part)
            if backward:
                result.sum().backward()
            self.after_forward()
            results.append(result.detach())
        return torch.cat(results)


class PromptFunction:
    """Losses, prompt gradients and ranks of answers, from a frozen backbone in some layout.

    A global batch is the same on all ranks; its rows are dealt out over data-parallel replicas,
    and the sums that come back are the same on all ranks again: the layout changes the speed, not
    the result.

    Args:
        engine: this rank's part of the backbone.
        mesh: the layout.
        vocabulary: what this rank holds of the logits.
        rows_per_forward: most rows in one forward pass of a rank; None for no limit.
    """

    def __init__(
        self,
        engine: Engine,
        mesh: Mesh,
        vocabulary: Vocabulary,
        rows_per_forward: int | None = None,
    ) -> None:
        self.engine = engine
        self.mesh = mesh
        self.world = mesh.world
        self.vocabulary = vocabulary
        self.rows_per_forward = rows_per_forward
        # Tensor-parallel peers compute the same outcomes: one of them speaks.
        self._speaks = mesh.tensor_rank == 0

    def loss_and_gradient(self, batch: Batch, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy at the first target of each row, over the words that the vocabulary says.

        Args:
            prompts: (R, S, H) fp32, the prompt matrix P; its graph is not used.

        Returns:
            losses: (R,) each relation's weighted sum of row losses; zero where it has no row.
            gradient: (R, S, H) fp32, of the sum of ``losses``.
        """
        total = torch.zeros(prompts.numel() + prompts.shape[0], device=self.world.device)
        gradient = total[: prompts.numel()].view(prompts.shape)
        losses = total[prompts.numel() :]
        leaf = prompts.detach().to(self.world.device).requires_grad_()

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            # A view of one target's logits gives them their gradient without a copy.
            first = logits.squeeze(1) if logits.shape[1] == 1 else logits[:, 0]
            return self.vocabulary.cross_entropy(first, part.labels) * part.weights

        index, part = self._my_rows(batch)
        rows = self.engine.run(part, leaf, outcome, backward=True, num_parts=self._num_parts(batch))
        if self._speaks and self.engine.holds_prompts:
            gradient += leaf.grad
        if self._speaks and self.engine.holds_logits:
            losses.index_add_(0, part.relations, rows)
        self.world.sum_(total)
        return losses.to(prompts.device), gradient.to(prompts.device)

    @torch.no_grad()
    def ranks(self, batch: Batch, prompts: Tensor, candidates: Candidates) -> Tensor:
        """Rank of each row's label among each set of candidates, (N, K, C) int64.

        1 is best. A label that is not in a set gets the size of the vocabulary plus one.
        """

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            return self.vocabulary.ranks(logits, part.labels, part.relations, candidates)

        shape = (len(batch), batch.targets.shape[1], len(candidates.names))
        ranks = torch.zeros(shape, dtype=torch.int64, device=self.world.device)
        index, part = self._my_rows(batch)
        found = self._evaluate(batch, part, prompts, outcome)
        if found is not None:
            # Rows without weight only keep the replicas in step.
            ranks[index] += found * (part.weights > 0).view(-1, 1, 1)
        return self.world.sum_(ranks).cpu()

    @torch.no_grad()
    def top(self, batch: Batch, prompts: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest tokens at the first target of each row, (N, k) each.

        Returns:
            probabilities (over the whole vocabulary) and token ids, best first.
        """

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            probabilities, tokens = self.vocabulary.top(logits[:, 0], k)
            return torch.stack([probabilities.double(), tokens.double()], dim=-1)

        best = torch.zeros(len(batch), k, 2, dtype=torch.float64, device=self.world.device)
        index, part = self._my_rows(batch)
        found = self._evaluate(batch, part, prompts, outcome)
        if found is not None:
            best[index] += found * (part.weights > 0).view(-1, 1, 1)
        best = self.world.sum_(best).cpu()
        return best[..., 0].float(), best[..., 1].long()

    def _evaluate(
        self, batch: Batch, part: Batch, prompts: Tensor, outcome: Outcome
    ) -> Tensor | None:
        found = self.engine.run(
            part,
            prompts.to(self.world.device),
            outcome,
            backward=False,
            num_parts=self._num_parts(batch),
        )
        return found if self._speaks else None

    def _num_parts(self, batch: Batch) -> int:
        """The same on all ranks: with sharded weights every forward pass is a collective."""
        share = math.ceil(len(batch) / self.mesh.degrees.data)
        return math.ceil(share / (self.rows_per_forward or share))

    def _my_rows(self, batch: Batch) -> tuple[Tensor, Batch]:
        """The rows of this replica, with their positions.

        Rows are sorted by length first, then dealt out in turn: all replicas get as many rows, of
        nearly the same length. Where rows are lacking, others stand in with weight zero.
        """
        size = self.mesh.degrees.data
        order = batch.lengths.argsort(stable=True)
        missing = -len(order) % size
        order = torch.cat([order, order[:1].expand(missing)])
        index = order[self.mesh.data_rank :: size]
        part = batch.rows(index)
        real = torch.arange(len(order))[self.mesh.data_rank :: size] < len(batch)
        part = replace(part, weights=part.weights * real)
        return index.to(self.world.device), part.to(self.world.device)
