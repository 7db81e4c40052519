"""Which part of a stored weight a rank keeps, and filling an empty model with just that.

A layout first shapes an empty model (parameters on the meta device), noting for each parameter
that it changed which slice of the checkpoint belongs there. Only then are weights read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from ptune_scale.backbone.network import (
    is_left_behind,
    may_lack,
    persistent_buffers,
    stored_names,
)
from ptune_scale.backbone.weights import CannotSlice, WeightSource
from ptune_scale.errors import UserError


@dataclass(frozen=True)
class Slice:
    """A part of a stored tensor along one dimension.

    Attributes:
        dim: the dimension, as stored.
        ranges: (start, stop) of the pieces, joined in this order.
        transposed: the parameter is the transpose of what is stored.
        padded: what lies beyond the stored tensor is zero; only shards of a vocabulary reach there.
    """

    dim: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    transposed: bool = False
    padded: bool = False

    def read(self, weights: WeightSource, name: str) -> Tensor:
        if not self.ranges:
            whole = weights.read(name)
            return whole.T if self.transposed else whole
        size = weights.shape(name)[self.dim]
        pieces = []
        for start, stop in self.ranges:
            inside = min(stop, size)
            if start < inside:
                pieces.append(weights.read(name, self.dim, start, inside))
            missing = stop - max(start, inside)
            if missing > 0:
                if not self.padded:
                    raise ValueError(f"{name}: slice ({start}, {stop}) of {size} in {self.dim}")
                shape = list(weights.shape(name))
                shape[self.dim] = missing
                dtype = pieces[-1].dtype if pieces else torch.float32
                pieces.append(torch.zeros(shape, dtype=dtype))
        joined = pieces[0] if len(pieces) == 1 else torch.cat(pieces, self.dim)
        return joined.T if self.transposed else joined


Slices = dict[nn.Parameter, Slice]
"""Parameters that are not the whole of what is stored."""


class Names:
    """The checkpoint's names of a model's parameters, noted while the model is still complete.

    With them their whole shapes, and the same of the buffers that checkpoints hold.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._names: dict[Tensor, tuple[str, ...]] = {}
        self._shapes: dict[Tensor, torch.Size] = {}
        parameters = model.named_parameters(remove_duplicate=False)
        for name, tensor in (*parameters, *persistent_buffers(model)):
            self._names[tensor] = (*self._names.get(tensor, ()), name)
            self._shapes[tensor] = tensor.shape

    def replace(self, old: Tensor, new: Tensor) -> None:
        """``new`` has taken the place of ``old``."""
        self._names[new], self._shapes[new] = self._names[old], self._shapes[old]

    def stored(self, tensor: Tensor, weights: WeightSource) -> str:
        """What the checkpoint calls a parameter or buffer of which this rank may hold a part.

        Raises:
            CannotSlice: the checkpoint does not have it under a name of the model.
            UserError: it has another shape there than the configuration gives it.
        """
        name, *others = stored_names(weights, self._model, self._names[tensor])
        for other in others:
            if not weights.same(name, other):
                raise CannotSlice(
                    f"its configuration says that {name} and {other} are one weight, and it has "
                    "two that differ, of which only loading the whole model makes two"
                )
        expected, found = list(self._shapes[tensor]), list(weights.shape(name))
        if expected != found:
            raise UserError(
                f"weight {name!r} has shape {found} in the checkpoint, but by the model's "
                f"configuration it is {expected}: they belong to different models"
            )
        return name

    def known(self, weights: WeightSource) -> set[str]:
        """Names in a checkpoint of what need not be read: second names of tied weights, tables that
        the model computes by itself, and what its family is known to leave behind."""
        tied = {
            stored
            for names in self._names.values()
            for stored in stored_names(weights, self._model, names, at_least=0)
        }
        return tied | {name for name in weights.names() if is_left_behind(self._model, name)}

    def may_lack(self, tensor: Tensor) -> bool:
        return any(may_lack(self._model, name) for name in self._names[tensor])


def pending(
    model: nn.Module, names: Names, slices: Slices, weights: WeightSource
) -> Iterator[tuple[nn.Parameter, str, Slice]]:
    """Each parameter of a shaped model with where its content is stored.

    Raises:
        CannotSlice: the checkpoint does not have one of them under its name.
        UserError: it has one of another shape.
    """
    for parameter in list(model.parameters()):
        stored = names.stored(parameter, weights)
        yield parameter, stored, slices.get(parameter, Slice())


def pending_buffers(
    model: nn.Module, names: Names, weights: WeightSource
) -> Iterator[tuple[Tensor, str]]:
    """Each buffer whose content is stored, with its name there; every rank keeps the whole of it.

    Raises:
        CannotSlice, UserError: as ``pending``.
    """
    for _, buffer in persistent_buffers(model):
        try:
            stored = names.stored(buffer, weights)
        except CannotSlice:
            if not names.may_lack(buffer):
                raise
        else:
            yield buffer, stored


def fill_buffers(
    model: nn.Module, names: Names, weights: WeightSource, device: torch.device
) -> None:
    """Read the buffers that are stored, in place, and move all of them to a device.

    Raises:
        CannotSlice, UserError: as ``pending``.
    """
    for buffer, name in list(pending_buffers(model, names, weights)):
        buffer.data = weights.read(name).to(buffer.dtype)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)


def fill(
    model: nn.Module, names: Names, slices: Slices, weights: WeightSource, device: torch.device
) -> None:
    """Read this rank's part of every weight, in place; the model leaves the meta device.

    Raises:
        CannotSlice, UserError: as ``pending``.
        ValueError: a slice does not have its parameter's shape.
    """
    todo = list(pending(model, names, slices, weights))
    for parameter, name, part in todo:
        shape = local_shape(parameter)
        content = part.read(weights, name).to(device=device, dtype=parameter.dtype)
        if content.shape != shape:
            raise ValueError(f"{name}: read {tuple(content.shape)}, need {tuple(shape)}")
        put(model, parameter, content.contiguous())
    fill_buffers(model, names, weights, device)


def local_shape(parameter: Tensor) -> torch.Size:
    """Shape of this rank's part."""
    return parameter.to_local().shape if isinstance(parameter, DTensor) else parameter.shape


def count_local_elements(model: nn.Module) -> int:
    """Elements of a laid-out backbone that this rank keeps between steps."""
    total = 0
    for parameter in model.parameters():
        if hasattr(parameter, "ds_tensor"):
            total += parameter.ds_tensor.numel()
        else:
            total += local_shape(parameter).numel()
    return total


def local_part(parameter: Any) -> Tensor:
    """What of a laid-out parameter this rank keeps between steps, without padding."""
    if isinstance(parameter, DTensor):
        return parameter.to_local()
    if not hasattr(parameter, "ds_tensor"):
        return parameter
    part = parameter.ds_tensor.flatten()
    start = dist.get_rank(parameter.ds_process_group) * part.numel()
    return part[: max(0, parameter.ds_numel - start)]


def put(model: nn.Module, parameter: nn.Parameter, content: Tensor) -> None:
    """Give a meta parameter its content, in all modules that share it."""
    if isinstance(parameter, DTensor):
        spread = DTensor.from_local(
            content,
            parameter.device_mesh,
            parameter.placements,
            run_check=False,
            shape=parameter.shape,
            stride=parameter.stride(),
        )
        new = nn.Parameter(spread, requires_grad=False)
    else:
        new = nn.Parameter(content, requires_grad=False)
    for module in model.modules():
        for name, value in list(module._parameters.items()):
            if value is parameter:
                module._parameters[name] = new


def replace_module(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of the one at a path below ``root``."""
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)
