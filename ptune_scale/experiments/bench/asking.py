"""Ways of answering that are compared: the likeliest token at each row's target, no gradient.

ours          prompts in the layout of a job
peft          an adapter's forward pass, in our dtype
transformers  the model's own forward pass on the text alone, in our dtype

All get the same batches; the latter two pad them, and compute logits at all positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.feed import Round
from ptune_scale.experiments.bench.peft_way import PeftWay
from ptune_scale.experiments.bench.reference_way import load_model, padded
from ptune_scale.experiments.bench.rounds import OURS
from ptune_scale.parallel import parallelize
from ptune_scale.task.example import Example, collate


class OursAsked:
    """This package, as an evaluation of a job."""

    name = OURS

    def __init__(self, case: Case) -> None:
        self._case = case
        self._function = parallelize(case.backbone, case.mesh)

    def start(self) -> None:
        case = self._case
        size = (len(case.tasks), case.num_slots, case.backbone.hidden_size)
        self._prompts = torch.zeros(size, device=case.device)

    def run(self, facts: Round) -> int:
        for rows in facts.batches:
            self._function.top(collate(rows), self._prompts, 1)
        return len(facts.rows)


class PeftAsked:
    """An adapter of PEFT, in our dtype with attention spelled out."""

    name = "peft"

    def __init__(self, case: Case, way: PeftWay | None = None) -> None:
        self._way = way or PeftWay(self.name, case, case.dtype, "eager")
        self._slots = case.num_slots

    def start(self) -> None:
        self._way.start()

    @torch.inference_mode()
    def answers(self, rows: Sequence[Example], allowed: Tensor | None = None) -> Tensor:
        """Token ids (N,), of those allowed (C,), or of all."""
        self._way.model.eval()
        inputs = self._way.collate(rows)
        del inputs["labels"]
        logits = self._way.model(**inputs).logits
        # What is collated has the object behind the text.
        ends = inputs["attention_mask"].sum(1) - 2 + self._slots
        at_ends = logits[torch.arange(len(rows)), ends]
        return at_ends.argmax(-1) if allowed is None else allowed[at_ends[:, allowed].argmax(-1)]

    def run(self, facts: Round) -> int:
        for rows in facts.batches:
            self.answers(rows)
        return len(facts.rows)


class PlainAsked:
    """The model without prompts, as transformers runs it."""

    name = "transformers"

    def __init__(self, case: Case) -> None:
        self._case, self._model = case, load_model(case, case.dtype, "eager").eval()

    def start(self) -> None:
        pass

    @torch.inference_mode()
    def answers(self, rows: Sequence[Example]) -> Tensor:
        """Token ids (N,)."""
        texts = [[i for i, s in zip(e.ids, e.slots, strict=True) if s < 0] for e in rows]
        mask = padded([[1] * len(text) for text in texts], 0, self._case)
        logits = self._model(input_ids=padded(texts, 0, self._case), attention_mask=mask).logits
        return logits[torch.arange(len(rows)), mask.sum(1) - 1].argmax(-1)

    def run(self, facts: Round) -> int:
        for rows in facts.batches:
            self.answers(rows)
        return len(facts.rows)
