"""P-tuning by PEFT, written as its documentation does.

PEFT puts its virtual tokens in front of the input, so there are as many as our template has slots,
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

from ptune_scale.bench import work
from ptune_scale.bench.case import Case
from ptune_scale.bench.feed import Round, text_length
from ptune_scale.bench.flops import ModelSizes, operations
from ptune_scale.bench.rounds import Done
from ptune_scale.bench.sides.side import load_model, padded
from ptune_scale.data.batch import Example
from ptune_scale.template import NO_SLOT

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
        self.dtype = dtype
        self._grouped = grouped
        self.backbone = load_model(case, dtype, attention)
        self._sizes = ModelSizes.of(self.backbone)
        self._slots = case.template.num_slots
        self._device = case.device

    def start(self) -> None:
        # PEFT imports it where it is installed, and it regrets a kernel that is not.
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        from peft import PromptEncoderConfig, get_peft_model

        hidden_size = self.backbone.get_input_embeddings().embedding_dim
        config = PromptEncoderConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self._slots,
            encoder_reparameterization_type="LSTM",
            encoder_num_layers=2,
            encoder_hidden_size=hidden_size // 2,
        )
        with warnings.catch_warnings():
            # PEFT asks transformers by a name that is about to be replaced.
            warnings.simplefilter("ignore", FutureWarning)
            self.model = get_peft_model(self.backbone, config)
        self.model.train()
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(trainable, lr=_LR)

    def step(self, examples: Sequence[Example]) -> float:
        """One update; returns the loss before it."""
        loss = self.model(**self.collate(examples)).loss
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Text and object, padded to the longest; labels are set at the object alone."""
        texts = [_text(example) for example in examples]
        objects = [example.label for example in examples]
        rows = [[*text, answer] for text, answer in zip(texts, objects, strict=True)]
        labels = [
            [*[_IGNORED] * len(text), answer] for text, answer in zip(texts, objects, strict=True)
        ]
        return {
            "input_ids": padded(rows, 0, self._device),
            "attention_mask": padded([[1] * len(row) for row in rows], 0, self._device),
            "labels": padded(labels, _IGNORED, self._device),
        }

    def run(self, facts: Round) -> Done:
        needed = 0.0
        for batch in facts.by_length if self._grouped else facts.batches:
            self.step(batch)
            least = work.of_prefix(batch, self._slots, self._sizes.layers)
            needed += operations(self._sizes, least)
        text = sum(text_length(e) for batch in facts.batches for e in batch)
        return Done(facts.facts, text + facts.facts * (self._slots + 1), text, needed)


def _text(example: Example) -> list[int]:
    return [i for i, slot in zip(example.ids, example.slots, strict=True) if slot == NO_SLOT]
