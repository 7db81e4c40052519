"""What can be spread over tensor-parallel ranks, and the order in which it is."""

from fnmatch import fnmatchcase

from transformers import PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.anatomy import Anatomy
from ptune_scale.errors import UserError
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.slices import Names, Slices
from ptune_scale.parallel.tensor import dtensor, fairscale
from ptune_scale.parallel.vocabulary import ShardedVocabulary


def check(config: PretrainedConfig, anatomy: Anatomy | None, degree: int) -> None:
    """Make sure that a model can be spread over so many ranks.

    Raises:
        UserError: with the numbers that do not fit.
    """
    if anatomy is None or anatomy.tensor is None:
        raise UserError(
            f"--tensor_parallel {degree}: model type {config.model_type!r} publishes no plan that "
            "says how its layers can be spread; use --zero_stage 3"
        )
    heads = config.num_attention_heads
    if heads % degree:
        raise UserError(
            f"--tensor_parallel {degree} does not divide the {heads} attention heads of this model"
        )
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    if kv_heads % degree and degree % kv_heads:
        raise UserError(
            f"--tensor_parallel {degree} and the {kv_heads} key-value heads of this model: one "
            "must be a multiple of the other, to spread the heads or to repeat them"
        )
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    inner = inner or 4 * config.hidden_size
    if inner % degree:
        raise UserError(
            f"--tensor_parallel {degree} does not divide the feed-forward size {inner} of this "
            "model"
        )


def spread(
    model: PreTrainedModel,
    anatomy: Anatomy,
    mesh: Mesh,
    names: Names,
    slices: Slices,
    vocab_size: int,
) -> ShardedVocabulary:
    """Reshape an empty model to this rank's part and note which slices belong to it.

    Args:
        model: on the meta device, in whole or one pipeline stage of it.
        slices: is added to.

    Returns:
        what this rank holds of the vocabulary.

    Raises:
        UserError: the model cannot be spread over this degree.
    """
    check(model.config, anatomy, mesh.degrees.tensor)
    plan = anatomy.tensor
    matches = [
        (path, module, style)
        for path, module in model.base_model.named_modules()
        for pattern, style in plan.styles.items()
        if fnmatchcase(path, pattern)
    ]
    if plan.library == "dtensor":
        dtensor.spread_layers(model, matches, mesh, names, slices)
    else:
        for path, module, style in matches:
            fairscale.spread_layer(model.base_model, path, module, style, plan, mesh, names, slices)
    _adapt_attention(model, mesh.degrees.tensor)
    return fairscale.spread_vocabulary(model, mesh, names, slices, vocab_size)


def _adapt_attention(model: PreTrainedModel, degree: int) -> None:
    """Tell attention modules how many heads are left, where they do not infer it."""
    for module in model.base_model.modules():
        if hasattr(module, "split_size") and hasattr(module, "num_heads"):
            module.split_size //= degree
            module.num_heads //= degree
        if hasattr(module, "num_key_value_groups"):
            heads = model.config.num_attention_heads // degree
            kv_heads = getattr(model.config, "num_key_value_heads", None)
            kv_heads = kv_heads or model.config.num_attention_heads
            module.num_key_value_groups = heads // max(1, kv_heads // degree)
