"""Frozen weights in 8 or 4 bits: which layers of a model are replaced, and the replacement.

These are the matrices of the repeated layers. Embeddings and head stay as they are: prompts lie
among the embeddings, and answers are read from the head. Norms and biases are small.
"""

from collections.abc import Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ptune_scale.backbone.families import anatomy_of
from ptune_scale.backbone.options import WeightBits
from ptune_scale.backbone.quantized_linear import quantize_linear
from ptune_scale.errors import UserError


def quantize(model: PreTrainedModel, bits: WeightBits) -> None:
    """Replace the linear layers of a model, in place, one after another.

    The process never holds more than the model and one weight besides, and ends with the small
    ones; pages of a file that full weights were mapped from are left to the system to reclaim.

    Args:
        bits: "8" or "4"; nothing is done for "full".

    Raises:
        UserError: the model cannot be quantized (see ``check_quantizable``), or bitsandbytes is not
            installed.
    """
    if bits == "full":
        return
    check_quantizable(model)
    for parent, name in list(_places(_repeated_layers(model))):
        linear = getattr(parent, name)
        setattr(parent, name, quantize_linear(_matrix(linear), linear.bias, bits))


def check_quantizable(model: PreTrainedModel) -> None:
    """Make sure that no matrix in the repeated layers would be left out; no weight is read.

    Args:
        model: it may be on the meta device.

    Raises:
        UserError: there are no such layers, or a matrix in them is not that of a linear layer.
    """
    layers = _repeated_layers(model)
    for path, module in layers.named_modules():
        if type(module) in (nn.Linear, Conv1D, nn.Embedding):
            continue
        left = [name for name, p in module.named_parameters(recurse=False) if p.dim() > 1]
        if left:
            raise UserError(
                f"--weight_bits: {type(model).__name__} has a matrix {left[0]!r} in its layers "
                f"({path}, a {type(module).__name__}) that is not a linear layer's and would be "
                "left out; use --weight_bits full"
            )
    if not any(_places(layers)):
        raise UserError(
            f"--weight_bits: the layers of {type(model).__name__} have no linear layers; use "
            "--weight_bits full"
        )


def _repeated_layers(model: PreTrainedModel) -> nn.Module:
    anatomy = anatomy_of(model.config)
    if anatomy is not None:
        return model.base_model.get_submodule(anatomy.layers)
    count = getattr(model.config, "num_hidden_layers", None)
    lists = (module for module in model.base_model.modules() if isinstance(module, nn.ModuleList))
    found = [module for module in lists if len(module) == count]
    if len(found) != 1:
        raise UserError(
            f"--weight_bits: where {type(model).__name__} has its layers is not known; use "
            "--weight_bits full"
        )
    return found[0]


def _places(layers: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules, and names in them of linear layers."""
    for parent in layers.modules():
        for name, child in list(parent.named_children()):
            if type(child) in (nn.Linear, Conv1D):
                yield parent, name


def _matrix(linear: nn.Linear | Conv1D) -> Tensor:
    """Weight (out, in); that of GPT-2's layers is the other way round."""
    return linear.weight.T.contiguous() if type(linear) is Conv1D else linear.weight
