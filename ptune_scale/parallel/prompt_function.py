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

Objective = Callable[[Vocabulary, Tensor, Batch], Tensor]
"""Loss of each row, (N,), from logits (N, K, W) that a vocabulary knows how to read."""

Question = Callable[[Vocabulary, Tensor, Batch], Tensor]
"""Values of each row, (N, ...), from logits (N, K, W) that a vocabulary knows how to read."""


def cross_entropy(vocabulary: Vocabulary, logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of each row's label at its first target, (N,), in nats."""
    # A view of one target's logits gives them their gradient without a copy.
    first = logits.squeeze(1) if logits.shape[1] == 1 else logits[:, 0]
    return vocabulary.cross_entropy(first, batch.labels)


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

    def forward(self, batch: Batch, prompts: Tensor) -> Tensor:
        """Logits (N, K, W) of one part of the rows."""
        return self.lm(batch, prompts)

    def backward(self, total: Tensor) -> None:
        """Propagate the outcome's sum over one part of the rows."""
        total.backward()

    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor:
        size = batch.group_size
        rows_per_part = size * math.ceil(len(batch) / (num_parts * size))
        index = torch.arange(len(batch), device=batch.ids.device)
        results = []
        for rows in index.split(rows_per_part):
            part = batch.rows(rows) if num_parts > 1 else batch
            with torch.set_grad_enabled(backward), self._head(backward):
                result = outcome(self.forward(part, prompts), part)
            if backward:
                self.backward(result.sum())
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

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective = cross_entropy
    ) -> tuple[Tensor, Tensor]:
        """Losses of a batch, and what P can do about them.

        Args:
            prompts: (R, S, H) fp32, the prompt matrix P; its graph is not used.
            objective: what is minimized.

        Returns:
            losses: (R,) each relation's weighted sum of row losses; zero where it has no row.
            gradient: (R, S, H) fp32, of the sum of ``losses``.
        """
        total = torch.zeros(prompts.numel() + prompts.shape[0], device=self.world.device)
        gradient = total[: prompts.numel()].view(prompts.shape)
        losses = total[prompts.numel() :]
        leaf = prompts.detach().to(self.world.device).requires_grad_()

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            return objective(self.vocabulary, logits, part) * part.weights

        index, part = self._my_rows(batch)
        rows = self.engine.run(part, leaf, outcome, backward=True, num_parts=self._num_parts(batch))
        if self._speaks and self.engine.holds_prompts and leaf.grad is not None:
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

        shape = (batch.targets.shape[1], len(candidates.names))
        return self._measure(batch, prompts, outcome, shape, torch.int64)

    @torch.no_grad()
    def top(self, batch: Batch, prompts: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest tokens at each target of each row, (N, K, k) each.

        Returns:
            probabilities (over the whole vocabulary) and token ids, best first.
        """

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            probabilities, tokens = self.vocabulary.top(logits, k)
            return torch.stack([probabilities.double(), tokens.double()], dim=-1)

        shape = (batch.targets.shape[1], k, 2)
        best = self._measure(batch, prompts, outcome, shape, torch.float64)
        return best[..., 0].float(), best[..., 1].long()

    @torch.no_grad()
    def log_probabilities(self, batch: Batch, prompts: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of some tokens at each target, over the whole vocabulary, in nats.

        Args:
            tokens: (N, K, C) int64, of the batch's rows in order.

        Returns:
            (N, K, C) fp32.
        """

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            asked = tokens.to(logits.device)[part.index]
            return self.vocabulary.pick(logits, asked) - self.vocabulary.normalizer(logits)

        return self._measure(batch, prompts, outcome, tuple(tokens.shape[1:]), torch.float32)

    @torch.no_grad()
    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Question,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """What a question finds in the logits of each row, (N, *shape).

        Rows of a group are asked about together, see ``Batch.groups``.
        """

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            return question(self.vocabulary, logits, part)

        return self._measure(batch, prompts, outcome, shape, dtype)

    def _measure(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        shape: tuple[int, ...],
        dtype: torch.dtype,
    ) -> Tensor:
        """Outcomes (N, *shape) of all rows, on all ranks."""
        result = torch.zeros(len(batch), *shape, dtype=dtype, device=self.world.device)
        index, part = self._my_rows(batch)
        found = self._evaluate(batch, part, prompts, outcome)
        if found is not None:
            # Rows without weight only keep the replicas in step.
            real = (part.weights > 0).view(-1, *[1] * len(shape))
            result[index] += torch.where(real, found, 0).to(dtype)
        return self.world.sum_(result).cpu()

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
        share = math.ceil(len(batch) / batch.group_size / self.mesh.degrees.data)
        groups_per_forward = max(1, (self.rows_per_forward or share) // batch.group_size)
        return math.ceil(share / groups_per_forward)

    def _my_rows(self, batch: Batch) -> tuple[Tensor, Batch]:
        """The rows of this replica, with their positions.

        Groups of rows are sorted by length first, then dealt out in turn: all replicas get as many,
        of nearly the same length. Where groups are lacking, others stand in with weight zero.
        """
        size, count = self.mesh.degrees.data, batch.group_size
        order = batch.lengths.view(-1, count).amax(1).argsort(stable=True)
        missing = -len(order) % size
        order = torch.cat([order, order[:1].expand(missing)])
        mine = order[self.mesh.data_rank :: size]
        index = (mine.unsqueeze(1) * count + torch.arange(count)).flatten()
        part = batch.rows(index)
        real = torch.arange(len(order))[self.mesh.data_rank :: size] < len(order) - missing
        part = replace(part, weights=part.weights * real.repeat_interleave(count))
        return index.to(self.world.device), part.to(self.world.device)
