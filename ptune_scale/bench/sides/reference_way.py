"""P-tuning the way the published code goes about it, for causal models.

The prompt encoder runs once per batch. Word embeddings of the whole padded batch are looked up,
and prompt embeddings are written over them one by one, in a loop over rows and slots. The model
gets embeddings and an attention mask and returns logits at all positions; the loss is taken where
the object is to be predicted. Hits are counted by sorting the whole vocabulary there. All in fp32.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptune_scale.bench import work
from ptune_scale.bench.case import Case
from ptune_scale.bench.feed import Round, text_length
from ptune_scale.bench.flops import ModelSizes, operations
from ptune_scale.bench.rounds import Done
from ptune_scale.bench.sides.side import load_model, padded
from ptune_scale.data.batch import Example
from ptune_scale.encoder import LSTMEncoder
from ptune_scale.template import NO_SLOT

_LR, _WEIGHT_DECAY = 1e-3, 5e-4


class ReferenceWay:
    """One prompt for all facts.

    Attributes:
        vectors: (S, H) what the encoder reads.
        encoder: the paper's.
        hits: facts whose object came first so far.
    """

    dtype = torch.float32

    def __init__(self, name: str, case: Case) -> None:
        self.name = name
        self.backbone = load_model(case, self.dtype, "sdpa").eval().requires_grad_(False)
        self._sizes = ModelSizes.of(self.backbone)
        self._slots = case.template.num_slots
        self._device = case.device

    def start(self) -> None:
        hidden_size = self.backbone.get_input_embeddings().embedding_dim
        self.vectors = nn.Embedding(self._slots, hidden_size).to(self._device)
        self.encoder = LSTMEncoder(hidden_size).to(self._device)
        parameters = [*self.vectors.parameters(), *self.encoder.parameters()]
        self._optimizer = torch.optim.Adam(parameters, lr=_LR, weight_decay=_WEIGHT_DECAY)
        self.hits = 0

    def step(self, examples: Sequence[Example]) -> float:
        """One update; returns the loss before it."""
        self._optimizer.zero_grad()
        rows = torch.arange(len(examples), device=self._device)
        targets = torch.tensor([e.targets[0] for e in examples], device=self._device)
        labels = torch.tensor([e.label for e in examples], device=self._device)
        at_targets = self._logits(examples)[rows, targets]
        loss = F.cross_entropy(at_targets, labels)
        for row, label in zip(at_targets.detach(), labels, strict=True):
            best_first = torch.argsort(row, descending=True)
            self.hits += int(best_first[0] == label)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _logits(self, examples: Sequence[Example]) -> Tensor:
        """(N, T, V)."""
        ids = padded([list(e.ids) for e in examples], 0, self._device)
        mask = padded([[1] * len(e.ids) for e in examples], 0, self._device)
        numbers = torch.arange(self._slots, device=self._device)
        prompt = self.encoder(self.vectors(numbers).unsqueeze(0))[0]
        embedded = self.backbone.get_input_embeddings()(ids)
        for row, example in enumerate(examples):
            for place, slot in enumerate(example.slots):
                if slot != NO_SLOT:
                    embedded[row, place] = prompt[slot]
        return self.backbone(inputs_embeds=embedded, attention_mask=mask).logits

    def run(self, facts: Round) -> Done:
        needed, tokens = 0.0, 0
        for batch in facts.batches:
            self.step(batch)
            needed += operations(self._sizes, work.of_rows(batch, self._sizes.layers))
            tokens += sum(len(example.ids) for example in batch)
        text = sum(text_length(e) for batch in facts.batches for e in batch)
        return Done(facts.facts, tokens, text, needed)
