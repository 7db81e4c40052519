"""The fused kernels compiled for GPUs that need not be there: registers, loads, no atomics.

This shows that they compile, do not spill and move 16 bytes at a time. It says nothing about speed.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("interpreted kernels are not compiled", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from ptune_scale.splice.triton_kernels import add_parts, gather_rows, sum_rows  # noqa: E402
from ptune_scale.splice.triton_splice import launch_shape  # noqa: E402

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
NVIDIA = ["sm_80", "sm_90"]
INDEX = dict.fromkeys(("ids", "tasks", "slots", "order", "offsets"), "*i64")
NUMBERS = dict.fromkeys(("low", "high", "length", "num_slots", "num_parts"), "i32")
FLOATS = dict.fromkeys(("prompts", "sums", "total"), "*fp32")


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def _compile(kernel: Any, target: str, hidden: int, **types: str) -> Any:
    """Compile as the launch would for tensors as PyTorch allocates them: 16-byte aligned."""
    block, warps = launch_shape(hidden, TARGETS[target].warp_size)
    constants = {"HIDDEN": hidden, "BLOCK": block, "WRITES_PROMPTS": True}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    types = INDEX | NUMBERS | FLOATS | types | dict.fromkeys(constants, "constexpr")
    signature = {name: types[name] for name in kernel.arg_names}
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=TARGETS[target], options={"num_warps": warps})


CASES = [
    (gather_rows, 3072, {"table": "*bf16", "inputs": "*bf16"}),
    (gather_rows, 576, {"table": "*fp16", "inputs": "*fp16"}),
    (gather_rows, 3072, {"table": "*fp32", "inputs": "*fp32"}),
    (sum_rows, 3072, {"gradient": "*bf16"}),
    (sum_rows, 576, {"gradient": "*fp32"}),
    (add_parts, 3072, {}),
]


def _nvidia_tool(name: str, *arguments: str) -> str:
    path = getattr(triton.knobs.nvidia, name).path
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("target", NVIDIA)
@pytest.mark.parametrize(("kernel", "hidden", "types"), CASES)
def test_nvidia_code_loads_16_bytes_and_does_not_spill(
    kernel: Any, hidden: int, types: dict[str, str], target: str, tmp_path: Path
) -> None:
    compiled = _compile(kernel, target, hidden, **types)
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    usage = _nvidia_tool("cuobjdump", "-res-usage", str(cubin))
    assert "STACK:0 " in usage and "LOCAL:0 " in usage, usage
    assert int(re.search(r"REG:(\d+)", usage)[1]) <= 64
    code = _nvidia_tool("nvdisasm", "-c", str(cubin))
    assert not re.search(r"\b(LDL|STL|RED|ATOM|ATOMG)\b", code)
    loads, stores = re.findall(r"\bLDG[\w.]*", code), re.findall(r"\bSTG[\w.]*", code)
    assert stores and all(".128" in store for store in stores)
    # Indices are scalars of 8 bytes; everything else comes 16 bytes at a time.
    assert all(".128" in load or ".64" in load for load in loads)
    vectors = {gather_rows: 3, sum_rows: 1, add_parts: 1}[kernel]  # words, P twice
    assert sum(".128" in load for load in loads) >= vectors


@pytest.mark.parametrize(("kernel", "hidden", "types"), CASES)
def test_amd_code_loads_16_bytes_and_does_not_spill(
    kernel: Any, hidden: int, types: dict[str, str]
) -> None:
    code = _compile(kernel, "gfx942", hidden, **types).asm["amdgcn"]
    assert re.findall(r"\.[sv]gpr_spill_count:\s+(\d+)", code) == ["0", "0"]
    assert int(re.search(r"\.private_segment_fixed_size:\s+(\d+)", code)[1]) == 0
    assert set(re.findall(r"\b(?:global|buffer)_load_(\w+)", code)) == {"dwordx4"}
    assert set(re.findall(r"\b(?:global|buffer)_store_(\w+)", code)) == {"dwordx4"}
    assert not re.search(r"\b(global|buffer)_atomic", code)


@pytest.mark.parametrize("target", TARGETS)
def test_rows_that_start_anywhere_compile_too(target: str) -> None:
    types = {"table": "*bf16", "inputs": "*bf16"}
    assert _compile(gather_rows, target, hidden=201, **types)
