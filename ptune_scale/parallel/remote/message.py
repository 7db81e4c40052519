"""Bodies of requests and replies: a safetensors file whose metadata hold a header.

Nothing in a body is ever run: tensors are bytes of a known type and shape, the header is JSON.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_bytes
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.reading import shown
from ptune_scale.strict_json import parse_json

VERSION = 2
"""Of the protocol; another one is refused by both sides."""

CONTENT_TYPE = "application/x-safetensors"

_KEY = "ptune_scale"
_LENGTH = 8
_LONGEST_HEADER = 1 << 20


class Malformed(UserError):
    """A body is not what the protocol says, or asks for what the model does not have."""


class TooMuch(Malformed):
    """A request is larger than a server takes; its rows can be asked about in parts."""


class AnotherVersion(Malformed):
    """A body is of another version of the protocol."""


def pack(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """A body."""
    said = json.dumps({"version": VERSION, **header})
    return to_bytes({name: each.contiguous() for name, each in tensors.items()}, {_KEY: said})


def unpack(body: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a body.

    Raises:
        AnotherVersion: it is one of another version.
        Malformed: it is none.
    """
    size = int.from_bytes(body[:_LENGTH], "little")
    if len(body) < _LENGTH or size > min(_LONGEST_HEADER, len(body) - _LENGTH):
        raise Malformed("the body is cut off, or no safetensors")
    try:
        described = parse_json(body[_LENGTH : _LENGTH + size])
        header = parse_json(described["__metadata__"][_KEY].encode())
        found = header["version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"the body has no header of this protocol ({error})") from error
    if found != VERSION or type(found) is not int:
        raise AnotherVersion(
            f"the body speaks version {shown(found)} of the protocol, this side version {VERSION}: "
            "give both the same version of ptune_scale"
        )
    try:
        return header, tensors_of(body)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise Malformed(f"the body's tensors cannot be read ({error})") from error


def tensor_of(
    tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, dimensions: int
) -> Tensor:
    """A tensor of a body.

    Raises:
        Malformed: it is not there, or of another type.
    """
    found = tensors.get(name)
    if found is None or found.dtype != dtype or found.dim() != dimensions:
        what = "nothing" if found is None else f"{found.dtype} {tuple(found.shape)}"
        raise Malformed(f"tensor {name!r} must be {dtype} with {dimensions} dimensions; got {what}")
    return found


def numbers_of(
    tensors: Mapping[str, Tensor], name: str, count: int, least: int, most: int
) -> Tensor:
    """A list of so many whole numbers of a body, int32, each from ``least`` to below ``most``.

    Raises:
        Malformed: it is not there, or is another list.
    """
    found = tensor_of(tensors, name, torch.int32, 1)
    require(len(found) == count, f"{name} must be {count} numbers; got {len(found)}")
    inside = count == 0 or (int(found.min()) >= least and int(found.max()) < most)
    require(inside, f"{name} must be from {least} to {most - 1}")
    return found


def whole_number(header: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """A number of a header.

    Raises:
        Malformed: it is not there, or out of range.
    """
    found = header.get(name)
    if type(found) is not int or not least <= found <= most:
        raise Malformed(f"{name} must be a whole number from {least} to {most}; got {shown(found)}")
    return found


def require(holds: bool, what: str, error: type[Malformed] = Malformed) -> None:
    """Refuse what does not hold.

    Raises:
        Malformed: it does not; of the kind that is asked for.
    """
    if not holds:
        raise error(what)
