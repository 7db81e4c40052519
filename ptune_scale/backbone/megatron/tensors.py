"""Tensors of a fairseq shard: what they are called, and along which dimension they are split."""

import argparse
import re

from ptune_scale.backbone.megatron.config import MegatronConfig

_EMBEDDING = "model.embed_tokens.weight"
_OURS, _FAIRSEQ = "model.", "decoder."
# The tied head, a placeholder that only tells fairseq the dtype, and a format version.
_DROPPED = re.compile(
    r"decoder\.(output_projection\.weight|embed_positions\._float_tensor|version)"
)
_OLD_NORM = re.compile(r"(decoder\.layers\.\d+)\.layer_norms\.([02])\.(weight|bias)")
_OLD_NORM_NAMES = {"0": "self_attn_layer_norm", "2": "final_layer_norm"}


def our_name(key: str) -> str | None:
    """The name of a fairseq tensor in our model; None for one that holds nothing to keep."""
    if _DROPPED.fullmatch(key):
        return None
    if old := _OLD_NORM.fullmatch(key):
        key = f"{old[1]}.{_OLD_NORM_NAMES[old[2]]}.{old[3]}"
    return _OURS + key.removeprefix(_FAIRSEQ) if key.startswith(_FAIRSEQ) else key


def fairseq_name(name: str) -> str:
    """The name of one of our tensors in a fairseq shard."""
    return _FAIRSEQ + name.removeprefix(_OURS)


def split_dim(name: str) -> int | None:
    """The dimension along which a tensor is split over shards or ranks; None if each has it whole.

    The embeddings are split by words. A column-parallel layer is split by outputs, its bias with
    it; a row-parallel layer by inputs, while its bias is added once, behind the sum, and is whole.
    """
    if name == _EMBEDDING:
        return 0
    module, _, kind = name.rpartition(".")
    path = re.sub(r"\.\d+\.", ".*.", module.removeprefix(_OURS))
    style = MegatronConfig.base_model_tp_plan.get(path)
    if style == "colwise":
        return 0
    return 1 if style == "rowwise" and kind == "weight" else None


def tensor_shapes(config: MegatronConfig) -> dict[str, tuple[int, ...]]:
    """Names and whole shapes of all tensors of a model, in the order of its modules.

    The head is not among them: it is the embeddings' weight.
    """
    size, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {_EMBEDDING: (config.vocab_size, size)}
    linear = {
        "self_attn.q_proj": (size, size),
        "self_attn.k_proj": (size, size),
        "self_attn.v_proj": (size, size),
        "self_attn.out_proj": (size, size),
        "fc1": (inner, size),
        "fc2": (size, inner),
    }
    for index in range(config.num_hidden_layers):
        for module, shape in linear.items():
            shapes[f"model.layers.{index}.{module}.weight"] = shape
            shapes[f"model.layers.{index}.{module}.bias"] = shape[:1]
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            shapes[f"model.layers.{index}.{norm}.weight"] = (size,)
            shapes[f"model.layers.{index}.{norm}.bias"] = (size,)
    shapes["model.layer_norm.weight"] = shapes["model.layer_norm.bias"] = (size,)
    return shapes


def part_shape(name: str, shape: tuple[int, ...], num_parts: int) -> tuple[int, ...]:
    """Shape of one of ``num_parts`` equal parts of a tensor whose whole shape is given."""
    dim = split_dim(name)
    if dim is None:
        return shape
    return (*shape[:dim], shape[dim] // num_parts, *shape[dim + 1 :])


def fairseq_args(config: MegatronConfig, num_parts: int) -> argparse.Namespace:
    """The settings that fairseq keeps in each shard."""
    return argparse.Namespace(
        arch="transformer_lm_megatron",
        task="language_modeling",
        criterion="vocab_parallel_cross_entropy",
        model_parallel_size=num_parts,
        decoder_layers=config.num_hidden_layers,
        decoder_embed_dim=config.hidden_size,
        decoder_input_dim=config.hidden_size,
        decoder_output_dim=config.hidden_size,
        decoder_ffn_embed_dim=config.intermediate_size,
        decoder_attention_heads=config.num_attention_heads,
        tokens_per_sample=config.max_position_embeddings,
        max_target_positions=config.max_position_embeddings,
        activation_fn="gelu",
        decoder_normalize_before=True,
        decoder_learned_pos=False,
        no_scale_embedding=False,
        no_token_positional_embeddings=False,
        share_decoder_input_output_embed=True,
    )
