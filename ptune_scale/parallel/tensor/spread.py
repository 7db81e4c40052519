"""What can be spread over tensor-parallel ranks, and the order in which it is."""

from fnmatch import fnmatchcase

from transformers import PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.families import TensorPlan, anatomy_of
from ptune_scale.backbone.network import sample_model
from ptune_scale.errors import UserError
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.slices import Names, Slices
from ptune_scale.parallel.tensor import dtensor_layers, fairscale_layers
from ptune_scale.parallel.vocabulary import ShardedVocabulary


def check(config: PretrainedConfig, degree: int) -> TensorPlan:
    """Make sure that a model can be spread over so many ranks.

    Returns:
        how.

    Raises:
        UserError: with the numbers that do not fit.
    """
    anatomy = anatomy_of(config)
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
    left = _per_head(sample_model(config), anatomy.tensor)
    if left is not None:
        raise UserError(
            f"--tensor_parallel {degree}: attention of this model has a parameter {left!r} for all "
            "heads, which the plan of its type does not spread with them; use --zero_stage 3"
        )
    return anatomy.tensor


def _per_head(model: PreTrainedModel, plan: TensorPlan) -> str | None:
    """A parameter beside the planned layers of attention that covers all heads, if there is one.

    Each rank would have it for all heads, and only its own heads to use it on.
    """
    config, base = model.config, model.base_model
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    sizes = {n for count in (heads, kv_heads) for n in (count, count * head_size)}
    planned = {
        path
        for path, _ in base.named_modules()
        if any(fnmatchcase(path, pattern) for pattern in plan.styles)
    }
    attentions = {path.rpartition(".")[0] for path in planned}
    for name, parameter in base.named_parameters():
        path = name.rpartition(".")[0]
        owners = [a for a in attentions if "att" in a.rpartition(".")[2] and f"{a}." in name]
        if not owners or path in planned or not parameter.dim():
            continue
        # A norm of single heads is the same for all of them, be they as many as it has elements.
        of_one_head = parameter.shape == (head_size,) and path not in attentions
        if parameter.shape[0] in sizes and not of_one_head:
            return name
    return None


def spread(
    model: PreTrainedModel,
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
    plan = check(model.config, mesh.degrees.tensor)
    matches = [
        (path, module, style)
        for path, module in model.base_model.named_modules()
        for pattern, style in plan.styles.items()
        if fnmatchcase(path, pattern)
    ]
    if plan.library == "dtensor":
        dtensor_layers.spread_layers(model, matches, mesh, names, slices)
    else:
        for path, module, style in matches:
            fairscale_layers.spread_layer(
                model.base_model, path, module, style, plan, mesh, names, slices
            )
    _adapt_attention(model, mesh.degrees.tensor)
    return fairscale_layers.spread_vocabulary(model, mesh, names, slices, vocab_size)


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
