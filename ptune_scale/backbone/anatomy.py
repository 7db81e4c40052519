"""Where the parts of a model are: what a layout needs to know to take it apart.

Most Hugging Face families publish both plans in their configuration; those that do not, and that
matter here, are described in this file. A family without a description still runs on one process,
data parallel and under ZeRO-3.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

Style = Literal["column", "row", "fused_column"]
Library = Literal["dtensor", "fairscale"]


@dataclass(frozen=True)
class TensorPlan:
    """How layers are spread over tensor-parallel ranks.

    Attributes:
        styles: module path below the base model, "*" for the layer number -> "column" (outputs
            are spread), "row" (inputs are) or "fused_column" (query, key and value one after
            another in one matrix, each spread).
        library: what the spread layers are made of.
        transposed: weights are stored (in, out).
    """

    styles: dict[str, Style]
    library: Library
    transposed: bool = False


@dataclass(frozen=True)
class Anatomy:
    """Parts of a base model, as attribute paths below it.

    Attributes:
        layers: the list of repeated layers.
        before: modules that only the first pipeline stage has -> what stands in for them on the
            others.
        after: modules that only the last stage has; the identity stands in for them.
        tensor: how to spread layers over ranks; None where that is not known.
    """

    layers: str
    before: dict[str, Callable[[], nn.Module]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    tensor: TensorPlan | None = None


class _NoPositions(nn.Module):
    """Adds nothing where a later stage would add position embeddings once more."""

    def forward(self, positions: Tensor) -> Tensor:
        # A tensor without dimensions takes the dtype of what it is added to.
        return torch.zeros((), device=positions.device)


class _Passed(nn.Module):
    """Takes the place of an embedding block: hidden states come in already embedded."""

    def forward(self, inputs_embeds: Tensor, **_: object) -> Tensor:
        return inputs_embeds


_GPT2 = Anatomy(
    layers="h",
    before={"wte": nn.Identity, "wpe": _NoPositions},
    after=("ln_f",),
    tensor=TensorPlan(
        {
            "h.*.attn.c_attn": "fused_column",
            "h.*.attn.c_proj": "row",
            "h.*.mlp.c_fc": "column",
            "h.*.mlp.c_proj": "row",
        },
        "fairscale",
        transposed=True,
    ),
)
_BERT = Anatomy(layers="encoder.layer", before={"embeddings": _Passed})
_DESCRIBED = {"gpt2": _GPT2, "bert": _BERT, "roberta": _BERT}
_OWN_LIBRARY: dict[str, Library] = {"fairseq_megatron": "fairscale"}
# Norms of single heads are whole on every rank; only their gradients would have to be summed.
_ABOUT_GRADIENTS = {"replicated_with_grad_allreduce"}
_STYLES: dict[str, Style] = {"colwise": "column", "rowwise": "row"}


def anatomy_of(config: PretrainedConfig) -> Anatomy | None:
    """The parts of a family, or None if it neither publishes nor has them described here."""
    if config.model_type in _DESCRIBED:
        return _DESCRIBED[config.model_type]
    stages = getattr(config, "base_model_pp_plan", None)
    if not stages or "layers" not in stages:
        return None
    names = list(stages)
    place = names.index("layers")
    return Anatomy(
        "layers",
        dict.fromkeys(names[:place], nn.Identity),
        tuple(names[place + 1 :]),
        _published_plan(config),
    )


def _published_plan(config: PretrainedConfig) -> TensorPlan | None:
    published = getattr(config, "base_model_tp_plan", None) or {}
    plan = {path: style for path, style in published.items() if style not in _ABOUT_GRADIENTS}
    if not plan or not set(plan.values()) <= set(_STYLES):
        return None
    styles = {path: _STYLES[style] for path, style in plan.items()}
    return TensorPlan(styles, _OWN_LIBRARY.get(config.model_type, "dtensor"))
