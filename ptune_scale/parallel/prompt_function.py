"""The waist of the system: (batch, P) -> (losses, dP).

Left of it, everything is ordinary single-process PyTorch that every rank repeats. Right of it is
the frozen backbone, in whatever layout. What crosses the network for learning is dP.

Shapes: N rows, K targets in a row, R tasks, S slots, H embedding size, V vocabulary, C sets
of candidates.
"""

import itertools
from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from torch import Tensor

from ptune_scale.backbone.text_cache import is_mostly_text
from ptune_scale.errors import UserError
from ptune_scale.parallel import generation
from ptune_scale.parallel.engine import Engine, WholeEngine
from ptune_scale.parallel.generation import Generated
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.rows import count_parts, cut, deal, evened
from ptune_scale.parallel.slices import local_part
from ptune_scale.task.asked import AnswerLogProbabilities, Ranks, Top
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import Objective, Vocabulary, cross_entropy

Question = Callable[[Vocabulary, Tensor, Batch], Tensor]
"""Values of each row, (N, ...), from logits (N, K, W) that a vocabulary knows how to read."""


class Unanswerable(UserError):
    """Rows that this model cannot be asked about; others it can.

    Its numbers overflow on them, or they are more than its servers compute at once.
    """


class PromptFunction:
    """Losses, prompt gradients and answers, from a frozen backbone in some layout.

    A global batch is the same on all ranks; its rows are dealt out over data-parallel replicas,
    and what comes back is the same on all ranks again: the layout changes the speed, not the
    result. All methods are called on all ranks together.

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
        # Tensor-parallel peers compute the same outcomes: one of them contributes to sums.
        self._contributes = mesh.tensor_rank == 0

    def loss_and_gradient(
        self, batch: Batch, prompts: Tensor, objective: Objective = cross_entropy
    ) -> tuple[Tensor, Tensor]:
        """Losses of a batch, and what P can do about them.

        Args:
            prompts: (R, S, H) fp32, the prompt matrix P; its graph is not used.
            objective: what is minimized.

        Returns:
            losses: (R,) each task's weighted sum of row losses; zero where it has no row.
            gradient: (R, S, H) fp32, of the sum of ``losses``.
        """
        total = torch.zeros(prompts.numel() + prompts.shape[0], device=self.world.device)
        gradient = total[: prompts.numel()].view(prompts.shape)
        losses = total[prompts.numel() :]
        leaf = prompts.detach().to(self.world.device).requires_grad_()

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            return objective(self.vocabulary, logits, part) * part.shares

        for _, whole in self._alike(batch):
            _, part = self._my_rows(whole)
            parts = self._num_parts(whole)
            rows = self.engine.run(part, leaf, outcome, backward=True, num_parts=parts)
            if self._contributes and rows is not None:
                losses.index_add_(0, part.tasks, rows)
        if self._contributes and self.engine.holds_prompts and leaf.grad is not None:
            gradient += leaf.grad
        self.world.sum_(total)
        return losses.to(prompts.device), gradient.to(prompts.device)

    def ranks(self, batch: Batch, prompts: Tensor, candidates: Candidates) -> Tensor:
        """Rank of the answer at each target among each set of candidates, (N, K, C) int64.

        1 is best. It is the size of the vocabulary plus one where no answer is expected, or where
        it is not in the set.
        """
        shape = (batch.num_targets, len(candidates.names))
        return self.ask(batch, prompts, Ranks(candidates), shape, torch.int64)

    def top(self, batch: Batch, prompts: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest tokens at each target of each row, (N, K, k) each.

        Returns:
            probabilities (over the whole vocabulary) and token ids, best first.
        """
        best = self.ask(batch, prompts, Top(k), (batch.num_targets, k, 2), torch.float64)
        return best[..., 0].float(), best[..., 1].long()

    def log_probabilities(self, batch: Batch, prompts: Tensor) -> Tensor:
        """Log-probability of the answer at each target, (N, K) fp32 in nats; 0 where there is none.

        It is over the whole vocabulary; for other tokens than the answers, see ``ask``.
        """
        return self.ask(batch, prompts, AnswerLogProbabilities(), (batch.num_targets,))

    @torch.no_grad()
    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Question,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """What a question finds in the logits of each row, (N, *shape), on the CPU.

        Rows of a group are asked about together.

        Args:
            shape: of what it finds in a row.
            dtype: of what comes back.

        Example:
            >>> def of_two_words(vocabulary, logits, batch):  # the first target's log-odds
            ...     words = torch.tensor([yes, no], device=logits.device)
            ...     found = vocabulary.pick(logits[:, 0], words.expand(len(batch), 2))
            ...     return found[:, 0] - found[:, 1]
            >>> function.ask(batch, prompts, of_two_words, ())
        """

        not_finite = torch.zeros(1, device=self.world.device)

        def outcome(logits: Tensor, part: Batch) -> Tensor:
            not_finite.add_((~logits.isfinite()).any())
            return question(self.vocabulary, logits, part)

        prompts = prompts.to(self.world.device)
        result = torch.zeros(len(batch), *shape, dtype=dtype, device=self.world.device)
        for numbers, whole in self._alike(batch):
            index, part = self._my_rows(whole)
            parts = self._num_parts(whole)
            found = self.engine.run(part, prompts, outcome, backward=False, num_parts=parts)
            if self._contributes and found is not None:
                result[[numbers[row] for row in index]] = found[: len(index)].to(dtype)
        if self.world.sum_(not_finite).item():
            raise Unanswerable(
                f"the model's logits are not finite: {self._why_not_finite(prompts)}"
            )
        return self.world.sum_(result).cpu()

    def _why_not_finite(self, prompts: Tensor) -> str:
        """What makes logits NaN or infinite, as far as the weights tell; all ranks call it."""
        if not bool(prompts.isfinite().all()):
            return "the prompt's vectors hold NaN or infinity; nothing can be scored with them"
        found = (
            name
            for name, parameter in self.engine.lm.model.named_parameters()
            if not bool(local_part(parameter).isfinite().all())
        )
        names = [name for name in self.world.gather(next(found, "")) if name]
        if names:
            return f"weight {names[0]!r} holds NaN or infinity: is its file damaged?"
        return "all weights are finite, so the model overflows on these rows; try --dtype float32"

    @property
    def has_cache(self) -> bool:
        """Whether ``generate`` keeps keys and values, instead of computing rows again per token."""
        return isinstance(self.engine, WholeEngine) and self.engine.lm.has_cache

    @property
    def kept_texts(self) -> dict[str, int]:
        """What became of the texts before all slots: tokens computed and reused, bytes held."""
        texts = self.engine.lm.texts
        if texts is None:
            return {}
        return {"computed": texts.computed, "reused": texts.reused, "bytes": texts.held}

    def generate(
        self, batch: Batch, prompts: Tensor, *, max_tokens: int, stop: Collection[int] = ()
    ) -> list[Generated]:
        """What a causal model goes on with behind the last token of each row, the likeliest tokens.

        A row ends at a stop token, after ``max_tokens``, or where the model's context does. What
        the rows' targets and answers are does not matter.

        Args:
            prompts: (R, S, H), the prompt matrix P.
            stop: token ids that end a row.

        Raises:
            ValueError: the model is a masked one.

        Example:
            >>> [one] = function.generate(collate([row]), prompts, max_tokens=8, stop={eos})
            >>> tokenizer.decode(one.tokens), one.ended, sum(one.log_probabilities)
        """
        engine, config = self.engine, self.engine.lm.model.config
        if not engine.lm.is_causal:
            raise ValueError("a masked model cannot go on behind a row")
        drafts = generation.begin(batch.examples, config, max_tokens, stop)
        if not isinstance(engine, WholeEngine) or not self.has_cache:
            generation.write_again(batch.examples, drafts, lambda rows: self.top(rows, prompts, 1))
            return [draft.done() for draft in drafts]
        batch = replace(batch, group_size=1)
        index, part = self._my_rows(batch)
        # Nothing is written behind rows that stand in.
        spare = generation.begin(part.examples[len(index) :], config, 0, stop)
        mine = iter([*(drafts[row] for row in index), *spare])
        for rows in cut(part, self._num_parts(batch)):
            generation.write_on(
                engine,
                self.vocabulary,
                rows,
                prompts.to(self.world.device),
                list(itertools.islice(mine, len(rows))),
                engine.agree,
            )
        written = {row: drafts[row].done() for row in index if self._contributes}
        together = {
            row: text for texts in self.world.gather(written) for row, text in texts.items()
        }
        return [together[row] for row in range(len(batch))]

    def _alike(self, batch: Batch) -> list[tuple[list[int], Batch]]:
        """Rows that are computed together: those behind texts that are kept, and the others."""
        lm = self.engine.lm
        if lm.texts is None:
            return [(list(range(len(batch))), batch)]
        kinds: dict[bool, list[int]] = {}
        for start in range(0, len(batch), batch.group_size):
            group = range(start, start + batch.group_size)
            rows = [batch.examples[row] for row in group]
            longest = max(row.num_tokens for row in rows)
            is_behind = lm.can_keep_texts(longest) and is_mostly_text(rows)
            kinds.setdefault(is_behind, []).extend(group)
        batch = evened(batch)
        return [(numbers, batch.rows(numbers)) for numbers in kinds.values()]

    def _num_parts(self, batch: Batch) -> int:
        return count_parts(batch, self.mesh.degrees.data, self.rows_per_forward)

    def _my_rows(self, batch: Batch) -> tuple[list[int], Batch]:
        index, part = deal(batch, self.mesh.data_rank, self.mesh.degrees.data)
        return index, part.to(self.world.device)
