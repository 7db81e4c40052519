"""The waist of the system: (batch, P) -> (losses, dP).

Left of it, everything is ordinary single-process PyTorch that every rank repeats. Right of it is
the frozen backbone, in whatever layout. What crosses the network for learning is dP.

Shapes: N rows, K targets in a row, R relations, S slots, H embedding size, V vocabulary, C sets
of candidates.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptune_scale.data.batch import Batch
from ptune_scale.data.candidates import Candidates
from ptune_scale.parallel.world import World

Forward = Callable[[Batch, Tensor], Tensor]


class PromptFunction:
    """Losses, prompt gradients and ranks of answers, from a frozen forward pass.

    A global batch is the same on all ranks; its rows are dealt out, and the sums that come back
    are the same on all ranks again: the number of ranks changes the speed, not the result.

    Args:
        forward: (batch, P) -> logits (N, K, V) in fp32, differentiable in P.
        world: the ranks that share the rows.
        rows_per_forward: most rows in one forward pass of a rank; None for no limit.
        after_forward: called after each pass, for example to drop gathered weights.
    """

    def __init__(
        self,
        forward: Forward,
        world: World,
        rows_per_forward: int | None = None,
        after_forward: Callable[[], None] = lambda: None,
    ) -> None:
        self.forward = forward
        self.world = world
        self.rows_per_forward = rows_per_forward
        self.after_forward = after_forward

    def loss_and_gradient(self, batch: Batch, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy at the first target of each row, over the whole vocabulary.

        Args:
            prompts: (R, S, H) fp32, the prompt matrix P; its graph is not used.

        Returns:
            losses: (R,) each relation's weighted sum of row losses; zero where it has no row.
            gradient: (R, S, H) fp32, of the sum of ``losses``.
        """
        total = torch.zeros(prompts.numel() + prompts.shape[0], device=self.world.device)
        gradient = total[: prompts.numel()].view(prompts.shape)
        losses = total[prompts.numel() :]
        for _, part in self._my_parts(batch):
            leaf = prompts.detach().to(self.world.device).requires_grad_()
            logits = self.forward(part, leaf)[:, 0]
            rows = cross_entropy(logits, part.labels, reduction="none") * part.weights
            rows.sum().backward()
            self.after_forward()
            gradient += leaf.grad
            losses.index_add_(0, part.relations, rows.detach())
        self.world.sum_(total)
        return losses.to(prompts.device), gradient.to(prompts.device)

    @torch.no_grad()
    def ranks(self, batch: Batch, prompts: Tensor, candidates: Candidates) -> Tensor:
        """Rank of each row's label among each set of candidates, (N, K, C) int64.

        1 is best. A label that is not in a set gets the size of the vocabulary plus one.
        """
        shape = (len(batch), batch.targets.shape[1], len(candidates.names))
        ranks = torch.zeros(shape, dtype=torch.int64, device=self.world.device)
        for index, part in self._my_parts(batch):
            logits = self.forward(part, prompts.to(self.world.device))
            self.after_forward()
            found = candidates.ranks(logits, part.labels, part.relations)
            # Rows without weight only keep the ranks in step.
            ranks[index] += found * (part.weights > 0).view(-1, 1, 1)
        return self.world.sum_(ranks).cpu()

    @torch.no_grad()
    def top(self, batch: Batch, prompts: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest tokens at the first target of each row, (N, k) each.

        Returns:
            probabilities (over the whole vocabulary) and token ids, best first.
        """
        logits = self.forward(batch.to(self.world.device), prompts.to(self.world.device))[:, 0]
        self.after_forward()
        return tuple(part.cpu() for part in logits.softmax(-1).topk(k))

    def check_replicas(self, tensors: Iterable[Tensor]) -> None:
        """Make sure that all ranks hold the same bits.

        Raises:
            RuntimeError: they do not, so that the ranks train different prompts.
        """
        if not self.world.same_everywhere(tensors):
            raise RuntimeError("prompt encoders differ between ranks: results would be wrong")

    def _my_parts(self, batch: Batch) -> Iterator[tuple[Tensor, Batch]]:
        """This rank's rows, in parts of at most ``rows_per_forward``, with their positions.

        Rows are sorted by length first, then dealt out in turn: all ranks get the same number of
        parts, of nearly the same size and length, with little padding. (With a sharded backbone
        every forward pass is a collective, so a rank without rows computes one with weight zero.)
        """
        order = batch.lengths.argsort(stable=True)
        share = math.ceil(len(batch) / self.world.size)
        num_parts = math.ceil(share / (self.rows_per_forward or share))
        rows_per_part = self.world.size * math.ceil(share / num_parts)
        for start in range(0, len(batch), rows_per_part):
            index = order[start : start + rows_per_part][self.world.rank :: self.world.size]
            if len(index):
                part = batch.rows(index)
            else:
                index = order[:1]
                part = batch.rows(index)
                part = replace(part, weights=torch.zeros_like(part.weights))
            yield index.to(self.world.device), part.to(self.world.device)
