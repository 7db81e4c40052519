"""Tiny models of both kinds, asked in one process, and plain ways to the same answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.parallel import single
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.task.tokenization import Tokenization

Ask = Callable[..., tuple[list[AskedTask], Asker]]


@pytest.fixture(scope="session")
def llama(tiny_llama: Path) -> Backbone:
    """A causal model in fp32."""
    return load_backbone(str(tiny_llama))


@pytest.fixture(scope="session")
def bert(tiny_bert: Path) -> Backbone:
    """A masked model in fp32."""
    return load_backbone(str(tiny_bert))


@pytest.fixture(scope="session")
def causal(llama: Backbone) -> Tokenization:
    return llama.tokens


@pytest.fixture(scope="session")
def masked(bert: Backbone) -> Tokenization:
    return bert.tokens


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Tasks bound to a backbone, and an asker with random prompts for their slots."""

    def make(backbone: Backbone, *tasks: Task) -> tuple[list[AskedTask], Asker]:
        asked = [AskedTask(task, backbone.tokens, index) for index, task in enumerate(tasks)]
        shape = (len(asked), max(1, *(each.num_slots for each in asked)), backbone.hidden_size)
        prompts = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        return asked, Asker(single(backbone.lm), prompts, batch_size=5)

    return make


@pytest.fixture(scope="session")
def task_of() -> Callable[..., Task]:
    """A task of fields with an "answer" among them, which is learned from and tested on."""

    def make(
        pattern: str, answer: Answer, *rows: dict[str, str], name: str = "cb", **more: Any
    ) -> Task:
        records = tuple(
            Record(str(i), row, row.get("answer"), source=f"a.jsonl:{i + 1}")
            for i, row in enumerate(rows)
        )
        wording = Wording(Pattern.parse(pattern), answer)
        return Task(name, wording, Splits(records, records, records), **more)

    return make


@pytest.fixture(scope="session")
def plainly() -> Callable[..., Tensor]:
    """Log-probabilities at each position of a row, (T, V), from the model as it was written."""
    models: dict[str, PreTrainedModel] = {}

    def read(
        backbone: Backbone, prompts: Tensor, ids: Sequence[int], slots: Sequence[int], task: int = 0
    ) -> Tensor:
        if backbone.name not in models:
            models[backbone.name] = backbone.load_model().eval().requires_grad_(False)
        model = models[backbone.name]
        inputs = model.get_input_embeddings()(torch.tensor([list(ids)]))
        for place, slot in enumerate(slots):
            if slot >= 0:
                inputs[0, place] = prompts[task, slot]
        return model(inputs_embeds=inputs).logits[0].log_softmax(-1)

    return read
