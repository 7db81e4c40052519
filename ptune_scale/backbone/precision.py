"""The precision that a backbone is computed in: what is typed, and what a machine is fast in.

In bfloat16 a model takes half the memory. Where the processor multiplies such numbers it is also
the faster one; where it does not, each product is converted first.
"""

from typing import Literal

import torch

from ptune_scale.backbone.options import Dtype

_WITH_PRODUCTS = ("avx512_bf16", "amx_bf16", "bf16")
"""Instructions that multiply bfloat16: x86's two, and ARM's."""

_AMPERE = (8, 0)
"""The first of NVIDIA's GPUs that multiply it; older ones compute it by way of fp32."""


def torch_dtype(name: Dtype) -> torch.dtype:
    """The type of a name; of "auto" the one that is fast on this machine."""
    return getattr(torch, fast_dtype() if name == "auto" else name)


def fast_dtype(*, gpu: int | None = 0) -> Literal["float32", "bfloat16"]:
    """bfloat16 where GPU or processor multiplies it by itself, else float32.

    It is what they say that they have, and not measured: all starts come to the same.

    Args:
        gpu: the number of that which computes, if there is one; None for the processor.
    """
    if gpu is not None and torch.cuda.is_available():
        is_fast = bool(torch.version.hip) or _capability(gpu) >= _AMPERE
    else:
        has = torch.cpu.get_capabilities()
        is_fast = torch.backends.mkldnn.is_available() and any(map(has.get, _WITH_PRODUCTS))
    return "bfloat16" if is_fast else "float32"


def _capability(gpu: int) -> tuple[int, int]:
    # Whoever has more ranks than GPUs is told so later.
    return torch.cuda.get_device_capability(min(gpu, torch.cuda.device_count() - 1))
