"""What is known of families of models, each of them tested: which can be packed, go on, be cut."""

from transformers import PretrainedConfig

PACKED = frozenset(
    {
        "gpt2",
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3_text",
        "granite",
        "olmo2",
        "fairseq_megatron",
    }
)
"""Families that take positions and a mask of (query, key) pairs as they are given."""

# Their first token has the position behind that of padding.
_BEGIN_BEHIND_PADDING = {
    "camembert",
    "data2vec-text",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
_WITHOUT_CACHE = {"fairseq_megatron"}
_LENGTH_DEPENDENT = {"dynamic", "longrope"}


def can_pack(config: PretrainedConfig, length: int) -> bool:
    """Whether rows of so many tokens can lie in lines.

    The mask of a line knows of no sliding window, so rows have to fit into it.
    """
    return config.model_type in PACKED and length <= (
        getattr(config, "sliding_window", None) or length
    )


def can_go_on(config: PretrainedConfig) -> bool:
    """Whether a second pass may go on behind what a first one computed of the same rows.

    Not if how a key is turned depends on the longest position in the same call.
    """
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    return config.model_type not in _WITHOUT_CACHE and kind not in _LENGTH_DEPENDENT


def context_length(config: PretrainedConfig) -> int | None:
    """Most tokens of a row; None where the architecture does not bound it."""
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and config.model_type in _BEGIN_BEHIND_PADDING:
        return most - config.pad_token_id - 1
    return most


def has_plain_head(config: PretrainedConfig) -> bool:
    """Whether the head is one linear layer whose rows can be picked."""
    return config.model_type in PACKED | {"bert"}
