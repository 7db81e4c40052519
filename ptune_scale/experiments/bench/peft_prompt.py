"""PEFT's prompt tuning, as its guide has it.

Its vectors, as many as in the guide, stand in front of the text of our pattern, from which the
slots are taken out, and begin as words of the vocabulary. Logits are computed at the targets alone.

Shapes: N rows, K targets in a row, V vocabulary, S vectors, H embedding size.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.reference_way import padded
from ptune_scale.parallel import generation
from ptune_scale.parallel.vocabulary import WholeVocabulary
from ptune_scale.task.asked import AnswerLogProbabilities, Ranks, Top
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import NO_SLOT, Batch, Example

NUM_VECTORS = 8
"""S, as in PEFT's guide to prompt tuning of causal models."""


class PeftPromptTuning:
    """A prompt of PEFT's and its frozen model, asked as a frozen side of ours is (``task.ask``).

    The prompt matrix that those who ask hand over is not looked at.

    Attributes:
        prompt: (S, H), what is trained.
    """

    def __init__(self, case: Case, model: Any, rate: float, seed: int) -> None:
        from peft import PromptTuningConfig, PromptTuningInit, get_peft_model

        torch.manual_seed(seed)
        config = PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=NUM_VECTORS,
            prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
        )
        self._case = case
        self._vocabulary = WholeVocabulary()
        self._model = get_peft_model(model, config)
        [self.prompt] = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW([self.prompt], lr=rate)
        self._rate = rate

    def take_back(self, prompt: Tensor) -> None:
        """Go back to vectors (S, H) of an earlier step."""
        with torch.no_grad():
            self.prompt.copy_(prompt)

    def step(
        self, batches: Sequence[tuple[Batch, Callable[..., Tensor]]], share_left: float
    ) -> None:
        """One update, at that share of the learning rate."""
        self._model.train()
        for batch, objective in batches:
            losses = objective(self._vocabulary, self._logits(batch), batch)
            (losses * batch.shares).sum().backward()
        self._optimizer.param_groups[0]["lr"] = share_left * self._rate
        self._optimizer.step()
        self._optimizer.zero_grad()

    @torch.no_grad()
    def ask(
        self,
        batch: Batch,
        prompts: Tensor,
        question: Callable[[Any, Tensor, Batch], Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        self._model.eval()
        return question(self._vocabulary, self._logits(batch), batch).to(dtype)

    def log_probabilities(self, batch: Batch, prompts: Tensor) -> Tensor:
        return self.ask(batch, prompts, AnswerLogProbabilities(), ())

    def top(self, batch: Batch, prompts: Tensor, k: int) -> tuple[Tensor, Tensor]:
        best = self.ask(batch, prompts, Top(k), (), torch.float64)
        return best[..., 0].float(), best[..., 1].long()

    def ranks(self, batch: Batch, prompts: Tensor, candidates: Candidates) -> Tensor:
        return self.ask(batch, prompts, Ranks(candidates), (), torch.int64)

    def generate(
        self, batch: Batch, prompts: Tensor, *, max_tokens: int, stop: Collection[int] = ()
    ) -> list[generation.Generated]:
        drafts = generation.begin(batch.examples, self._case.backbone.config, max_tokens, stop)
        generation.write_again(batch.examples, drafts, lambda rows: self.top(rows, prompts, 1))
        return [draft.done() for draft in drafts]

    def _logits(self, batch: Batch) -> Tensor:
        """(N, K, V), at the targets."""
        rows = [_without_slots(row) for row in batch.examples]
        ids = padded([list(row.ids) for row in rows], 0, self._case)
        mask = padded([[1] * row.num_tokens for row in rows], 0, self._case)
        targets = replace(batch, examples=tuple(rows)).targets + NUM_VECTORS
        return self._model(input_ids=ids, attention_mask=mask, logits_to_keep=targets).logits


def _without_slots(row: Example) -> Example:
    kept = [place for place, slot in enumerate(row.slots) if slot == NO_SLOT]
    # A target is where the answer's predecessor stands: a slot there leaves it to the text before.
    targets = tuple(sum(place <= target for place in kept) - 1 for target in row.targets)
    return replace(
        row,
        ids=tuple(row.ids[place] for place in kept),
        slots=(NO_SLOT,) * len(kept),
        targets=targets,
    )
