"""P-tuning by PEFT, written as its documentation does.

PEFT puts its virtual tokens in front of the input, so there are as many as our pattern has slots,
then the text, then the object, on which the loss is taken. One adapter serves all facts: rows of
several relations cannot share a batch in which each has its own prompt. The encoder is the paper's
(two bidirectional LSTM layers of H/2 units, two linear layers).

The documentation loads the model in fp32 and lets the library choose the attention; newer versions
of transformers load a checkpoint in the precision in which it is stored, so it is asked for here.
"""

import logging
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.feed import Round
from ptune_scale.experiments.bench.reference_way import load_model, padded
from ptune_scale.task.example import Example

_LR = 1e-3
_IGNORED = -100
"""Label of a position without a loss, by Hugging Face's convention."""


class PeftWay:
    """One PEFT adapter.

    Args:
        dtype, attention: of its model.
        grouped: batches hold facts of similar length, so that little is padded.
    """

    def __init__(
        self, name: str, case: Case, dtype: torch.dtype, attention: str, grouped: bool = False
    ) -> None:
        self.name = name
        self._grouped = grouped
        self.backbone = load_model(case, dtype, attention)
        self._case = case

    def start(self, lr: float = _LR) -> None:
        """A new adapter."""
        # PEFT imports it where it is installed, and it regrets a kernel that is not.
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        from peft import PromptEncoderConfig, get_peft_model

        config = PromptEncoderConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self._case.num_slots,
            encoder_reparameterization_type="LSTM",
            encoder_num_layers=2,
            encoder_hidden_size=self.backbone.get_input_embeddings().embedding_dim // 2,
        )
        with warnings.catch_warnings():
            # PEFT asks transformers by a name that is about to be replaced.
            warnings.simplefilter("ignore", FutureWarning)
            self.model = get_peft_model(self.backbone, config)
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(trainable, lr=lr)

    def step(self, examples: Sequence[Example]) -> float:
        """One update; returns the loss before it."""
        self.model.train()
        loss = self.model(**self.collate(examples)).loss
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Text and object, padded to the longest; labels are set at the object alone."""
        texts = [[i for i, slot in zip(e.ids, e.slots, strict=True) if slot < 0] for e in examples]
        rows = [[*text, e.answers[0]] for text, e in zip(texts, examples, strict=True)]
        labels = [[_IGNORED] * (len(row) - 1) + row[-1:] for row in rows]
        return {
            "input_ids": padded(rows, 0, self._case),
            "attention_mask": padded([[1] * len(row) for row in rows], 0, self._case),
            "labels": padded(labels, _IGNORED, self._case),
        }

    def run(self, facts: Round) -> int:
        for batch in facts.by_length if self._grouped else facts.batches:
            self.step(batch)
        return len(facts.rows)
