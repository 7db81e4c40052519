"""The vectors alone: an array (S, H) in fp32 for each task, as numpy and Google's library read it.

Shapes: S slots, H embedding size.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from torch import Tensor

from ptune_scale.task.example import Batch
from ptune_scale.task.record import Record
from ptune_scale.use.formats.format import Format, Logits, plain_name
from ptune_scale.use.prompt import TunedPrompt


def _check(prompt: TunedPrompt, rows: Sequence[int]) -> None:
    """Any prompt is an array."""


def _write(
    prompt: TunedPrompt, rows: Sequence[int], records: dict[int, list[Record]], directory: Path
) -> None:
    for row in rows:
        task = prompt.tasks[row]
        array = prompt.export.prompts[row, : task.num_slots].numpy()
        numpy.save(directory / f"{plain_name(task.task.name, row)}.npy", array, allow_pickle=False)


def _load(prompt: TunedPrompt, rows: Sequence[int], directory: Path) -> Logits:
    read = torch.zeros_like(prompt.export.prompts)
    for row in rows:
        path = directory / f"{plain_name(prompt.tasks[row].task.name, row)}.npy"
        array = torch.from_numpy(numpy.load(path, allow_pickle=False))
        read[row, : len(array)] = array

    def logits(batch: Batch, prompts: Tensor) -> Tensor:
        return prompt.backbone.lm(batch, read)

    return logits


NPY = Format("npy", _check, _write, _load)
