"""The precision that a backbone is computed in: what is typed, and what a machine is fast in.

In bfloat16 a model takes half the memory. Where the processor multiplies such numbers it is also
the faster one; where it does not, each product is converted first.
"""

import torch

from ptune_scale.backbone.options import Dtype


def torch_dtype(name: Dtype) -> torch.dtype:
    """The type of a name; of "auto" the one that is fast on this machine."""
    return getattr(torch, fast_dtype() if name == "auto" else name)


def fast_dtype() -> Dtype:
    """bfloat16 where GPU or processor multiplies it by itself, else float32.

    It is read off what the processor says that it has, not measured: all starts come to the same.
    """
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_bf16 = (
        torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
        or _is_arm_with_bf16()
    )
    return "bfloat16" if has_bf16 else "float32"


def _is_arm_with_bf16() -> bool:
    # On x86 oneDNN takes AVX-512 for enough and converts; on ARM it asks for the instructions.
    is_x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return not is_x86 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
