"""Layers of models that publish a plan, spread by ``parallelize_module`` of PyTorch (DTensor)."""

import torch
from torch import nn
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from transformers import PreTrainedModel

from ptune_scale.parallel.mesh import TENSOR, Mesh
from ptune_scale.parallel.slices import Names, Slice, Slices, replace_module


def spread_layers(
    model: PreTrainedModel, matches: list, mesh: Mesh, names: Names, slices: Slices
) -> None:
    """Spread linear layers of an empty model, key-value heads repeated where they are too few.

    Args:
        matches: (path below the base model, module, style) of each layer.
        slices: is added to.
    """
    config, degree, rank = model.config, mesh.degrees.tensor, mesh.tensor_rank
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    styles = {"column": ColwiseParallel, "row": RowwiseParallel}
    plan = {}
    for path, module, style in matches:
        repeat = 1
        if degree > kv_heads and path.endswith(("k_proj", "v_proj")):
            repeat = degree // kv_heads
            module = _repeated(model.base_model, path, module, repeat, names)
        for key, parameter in module.named_parameters(recurse=False):
            dim = 0 if style == "column" else 1
            if key == "bias" and style == "row":
                continue
            size = parameter.shape[dim] // degree
            place = rank // repeat
            slices[parameter] = Slice(dim, ((place * size, (place + 1) * size),))
        plan[path] = styles[style]()
    old = {path: dict(m.named_parameters(recurse=False)) for path, m, _ in matches}
    old.update({p: dict(model.base_model.get_submodule(p).named_parameters()) for p in plan})
    parallelize_module(model.base_model, mesh.along(TENSOR), plan)
    for path in plan:
        for key, parameter in model.base_model.get_submodule(path).named_parameters():
            before = old[path][key]
            names.replace(before, parameter)
            if before in slices:
                slices[parameter] = slices.pop(before)
            parameter.requires_grad_(False)


def _repeated(
    root: nn.Module, path: str, module: nn.Linear, repeat: int, names: Names
) -> nn.Linear:
    """A projection in which each key or value head occurs ``repeat`` times in a row.

    Ranks that share a head each compute it whole; which head is whose is in the slices.
    """
    with torch.device("meta"):
        wide = nn.Linear(
            module.in_features,
            module.out_features * repeat,
            bias=module.bias is not None,
            dtype=module.weight.dtype,
        )
    for key, parameter in wide.named_parameters():
        parameter.requires_grad_(False)
        names.replace(getattr(module, key), parameter)
    replace_module(root, path, wide)
    return wide
