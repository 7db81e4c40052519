"""What is known of families of models: one record for each, the one place to add another.

A family without a record still runs, on one process, data parallel and under ZeRO-3. Most Hugging
Face families publish in their configuration how layers can be spread and cut into stages; those
that do not, and that matter here, are described below.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

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


@dataclass(frozen=True)
class Family:
    """What is known of a family; the defaults claim nothing.

    Attributes:
        can_pack: its models take positions and a mask of (query, key) pairs as they are given, so
            that rows can lie in one line; tested for each family that claims it.
        has_cache: a second call may go on behind the keys and values of a first one.
        can_prepare: its layers compute what ``llama_layer`` does.
        begins_behind_padding: a row's first token has the position behind that of padding.
        begins_texts: a token stands in front of every text, although a SentencePiece file alone
            does not say so.
        anatomy: its parts, where its configuration does not publish them.
        library: what its tensor-parallel layers are made of, where its configuration has the plan.
        unfit: why its masked models cannot be a backbone, although they take embeddings.
    """

    can_pack: bool = False
    has_cache: bool = True
    can_prepare: bool = False
    begins_behind_padding: bool = False
    begins_texts: bool = False
    anatomy: Anatomy | None = None
    library: Library = "dtensor"
    unfit: str | None = None


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
_PADDING = "padding changes what it computes of a row, so results would depend on the batch"
_RANDOM = "it draws its hashes anew in each forward pass"

FAMILIES: dict[str, Family] = {
    # causal
    "fairseq_megatron": Family(can_pack=True, has_cache=False, library="fairscale"),
    "gemma": Family(can_pack=True, begins_texts=True),
    "gemma2": Family(can_pack=True, begins_texts=True),
    "gemma3_text": Family(can_pack=True, begins_texts=True),
    "gpt2": Family(can_pack=True, anatomy=_GPT2),
    "granite": Family(can_pack=True),
    "llama": Family(can_pack=True, can_prepare=True, begins_texts=True),
    "mistral": Family(can_pack=True, can_prepare=True, begins_texts=True),
    "olmo2": Family(can_pack=True),
    "qwen2": Family(can_pack=True, can_prepare=True),
    "qwen3": Family(can_pack=True),
    # masked
    "bert": Family(anatomy=_BERT),
    "camembert": Family(begins_behind_padding=True),
    "data2vec-text": Family(begins_behind_padding=True),
    "longformer": Family(begins_behind_padding=True),
    "mpnet": Family(begins_behind_padding=True),
    "roberta": Family(begins_behind_padding=True, anatomy=_BERT),
    "roberta-prelayernorm": Family(begins_behind_padding=True),
    "xlm-roberta": Family(begins_behind_padding=True),
    "xlm-roberta-xl": Family(begins_behind_padding=True),
    "xmod": Family(begins_behind_padding=True),
    # masked, and no backbone
    "convbert": Family(unfit=_PADDING),
    "fnet": Family(unfit=_PADDING),
    "funnel": Family(unfit=_PADDING),
    "ibert": Family(unfit="it counts in whole numbers, which have no gradient"),
    "mobilebert": Family(unfit=_PADDING),
    "nystromformer": Family(unfit="it takes rows of one fixed length only"),
    "reformer": Family(unfit=_RANDOM),
    "yoso": Family(unfit=_RANDOM),
}
"""``model_type`` -> what is known."""

# Norms of single heads are whole on every rank; only their gradients would have to be summed.
_ABOUT_GRADIENTS = {"replicated_with_grad_allreduce"}
_STYLES: dict[str, Style] = {"colwise": "column", "rowwise": "row"}
# Rotary positions that turn a key by an angle which depends on the longest position of the call.
_LENGTH_DEPENDENT = {"dynamic", "longrope"}
# What configurations call the most tokens of a row.
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def family_of(config: PretrainedConfig) -> Family:
    """The record of a model's family, or one that claims nothing."""
    return FAMILIES.get(config.model_type, Family())


def anatomy_of(config: PretrainedConfig) -> Anatomy | None:
    """The parts of a family, or None if it neither publishes nor has them described here."""
    family = family_of(config)
    if family.anatomy is not None:
        return family.anatomy
    stages = getattr(config, "base_model_pp_plan", None)
    if not stages or "layers" not in stages:
        return None
    names = list(stages)
    place = names.index("layers")
    return Anatomy(
        "layers",
        dict.fromkeys(names[:place], nn.Identity),
        tuple(names[place + 1 :]),
        _published_plan(config, family.library),
    )


def _published_plan(config: PretrainedConfig, library: Library) -> TensorPlan | None:
    published = getattr(config, "base_model_tp_plan", None) or {}
    plan = {path: style for path, style in published.items() if style not in _ABOUT_GRADIENTS}
    if not plan or not set(plan.values()) <= set(_STYLES):
        return None
    return TensorPlan({path: _STYLES[style] for path, style in plan.items()}, library)


def can_pack(config: PretrainedConfig, length: int) -> bool:
    """Whether rows of so many tokens can be given positions and a mask of their own.

    Such a mask knows of no sliding window, so rows have to fit into it.
    """
    window = getattr(config, "sliding_window", None) or length
    return family_of(config).can_pack and length <= window


def can_go_on(config: PretrainedConfig) -> bool:
    """Whether a second call may go on behind the keys and values of a first one."""
    rope = _rope(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    return family_of(config).has_cache and kind not in _LENGTH_DEPENDENT


def context_length(config: PretrainedConfig) -> int | None:
    """Most tokens of a row; None where the architecture does not bound it.

    Where rotary positions depend on the longest row of a call, it ends where they begin to: what a
    row computes must not depend on those beside it.
    """
    found = (getattr(config, name, None) for name in _LENGTHS)
    most = min((length for length in found if isinstance(length, int)), default=None)
    if most is not None and family_of(config).begins_behind_padding:
        return most - config.pad_token_id - 1
    rope = _rope(config)
    if rope.get("rope_type", rope.get("type")) in _LENGTH_DEPENDENT:
        border = rope.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        return min(length for length in (most, border) if length is not None)
    return most


def _rope(config: PretrainedConfig) -> dict[str, Any]:
    """What is said of rotary positions, of the layers that see everything where they differ."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return rope.get("full_attention", rope)
