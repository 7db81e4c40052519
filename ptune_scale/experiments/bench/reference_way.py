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
from transformers import AutoModelForCausalLM, PreTrainedModel

from ptune_scale.backbone import find_model, gguf
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.feed import Round
from ptune_scale.prompt.encoder import LSTMEncoder
from ptune_scale.task.example import NO_SLOT, Example

_LR, _WEIGHT_DECAY = 1e-3, 5e-4


class ReferenceWay:
    """One prompt for all facts.

    Attributes:
        vectors: (S, H) what the encoder reads.
        encoder: the paper's.
        hits: facts whose object came first so far.
    """

    def __init__(self, name: str, case: Case) -> None:
        self.name = name
        self.backbone = load_model(case, torch.float32, "sdpa").eval().requires_grad_(False)
        self._case = case

    def start(self) -> None:
        device = self._case.device
        hidden_size = self.backbone.get_input_embeddings().embedding_dim
        self.vectors = nn.Embedding(self._case.num_slots, hidden_size).to(device)
        self.encoder = LSTMEncoder(hidden_size).to(device)
        parameters = [*self.vectors.parameters(), *self.encoder.parameters()]
        self._optimizer = torch.optim.Adam(parameters, lr=_LR, weight_decay=_WEIGHT_DECAY)
        self.hits = 0

    def step(self, examples: Sequence[Example]) -> float:
        """One update; returns the loss before it."""
        self._optimizer.zero_grad()
        labels = torch.tensor([e.answers[0] for e in examples], device=self._case.device)
        targets = [e.targets[0] for e in examples]
        at_targets = self._logits(examples)[range(len(examples)), targets]
        loss = F.cross_entropy(at_targets, labels)
        for row, label in zip(at_targets.detach(), labels, strict=True):
            best_first = torch.argsort(row, descending=True)
            self.hits += int(best_first[0] == label)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _logits(self, examples: Sequence[Example]) -> Tensor:
        """(N, T, V)."""
        ids = padded([list(e.ids) for e in examples], 0, self._case)
        mask = padded([[1] * len(e.ids) for e in examples], 0, self._case)
        prompt = self.encoder(self.vectors.weight.unsqueeze(0))[0]
        embedded = self.backbone.get_input_embeddings()(ids)
        for row, example in enumerate(examples):
            for place, slot in enumerate(example.slots):
                if slot != NO_SLOT:
                    embedded[row, place] = prompt[slot]
        return self.backbone(inputs_embeds=embedded, attention_mask=mask).logits

    def run(self, facts: Round) -> int:
        for batch in facts.batches:
            self.step(batch)
        return len(facts.rows)


def load_model(case: Case, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """The case's model straight from Hugging Face, on the case's device.

    Raises:
        UserError: it is not there.
    """
    source = find_model(case.model.model)
    where = source.path
    if where is not None and source.is_gguf:
        where = gguf.converted_directory(where, dtype)
    model = AutoModelForCausalLM.from_pretrained(
        where or source.name, dtype=dtype, attn_implementation=attention
    )
    return model.to(case.device)


def padded(rows: list[list[int]], fill: int, case: Case) -> Tensor:
    """Rows (N, T) filled up on the right to the longest."""
    longest = max(map(len, rows))
    return torch.tensor([[*r, *[fill] * (longest - len(r))] for r in rows], device=case.device)
