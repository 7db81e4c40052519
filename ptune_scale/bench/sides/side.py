"""What all sides have in common, and the model as Hugging Face loads it."""

from typing import Protocol

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ptune_scale.backbone import find_model, gguf
from ptune_scale.bench.case import Case
from ptune_scale.bench.rounds import Runner


class Side(Runner, Protocol):
    """A way of P-tuning. Making one loads its model; ``start`` makes what trains.

    Attributes:
        dtype: of its model.
        backbone: the model, to be asked for its weights.
    """

    dtype: torch.dtype
    backbone: nn.Module


def load_model(case: Case, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """The case's model straight from Hugging Face, on the case's device.

    Raises:
        UserError: it is not there.
    """
    source = find_model(case.config.model.model)
    where = gguf.converted_directory(source.path, dtype) if source.is_gguf else source.path
    model = AutoModelForCausalLM.from_pretrained(
        where or source.name, dtype=dtype, attn_implementation=attention
    )
    return model.to(case.device)


def padded(rows: list[list[int]], fill: int, device: torch.device) -> torch.Tensor:
    """Rows (N, T) filled up on the right to the longest."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)
