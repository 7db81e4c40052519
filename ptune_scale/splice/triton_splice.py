"""Launches the fused splice kernels and ties them into autograd.

What fusing saves is memory traffic, and no step of the host waits for the device. Bytes moved, in
units of H, for a bf16 table and bf16 inputs (fp32 P, nothing found in a cache):

=======================  =====  =======================
                         fused  reference (plain PyTorch)
=======================  =====  =======================
a word, forward              4   4
a prompt row, forward        6  22
a prompt row, backward       2  22
=======================  =====  =======================

This is counted, not measured: on an H100 the kernels give the bits of the reference, but they were
not timed by themselves. Either way it is a small part of a training step.

Shapes: N rows, T tokens, R tasks, S slots, H hidden size. A place is one of the N * T
positions, a cell one of the R * S rows of P.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptune_scale.splice.triton_kernels import add_parts, gather_rows, sum_rows

_VALUES_PER_LANE = 8  # 16 bytes of a 16-bit dtype
_MAX_WARPS = 4
_ENOUGH_PROGRAMS = 512  # some for each of the 80 to 150 processors of a large GPU
_MIN_ROWS_PER_PART = 8


def embed_and_splice_triton(
    table: Tensor,
    ids: Tensor,
    prompts: Tensor,
    tasks: Tensor,
    slots: Tensor,
    *,
    shard: tuple[int, int] | None = None,
    writes_prompts: bool = True,
) -> Tensor:
    """Gather word and prompt rows in one kernel; sum dP in another.

    Args and returns: see ``ptune_scale.splice.dispatch.embed_and_splice``. Out-of-range ids give
    zeros; tasks and slots out of range are undefined.
    """
    return _EmbedAndSplice.apply(
        prompts,
        table.detach().contiguous(),
        ids.contiguous(),
        tasks.contiguous(),
        slots.contiguous(),
        shard or (0, table.shape[0]),
        writes_prompts,
    )


class _EmbedAndSplice(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        prompts: Tensor,
        table: Tensor,
        ids: Tensor,
        tasks: Tensor,
        slots: Tensor,
        shard: tuple[int, int],
        writes_prompts: bool,
    ) -> Tensor:
        ctx.save_for_backward(tasks, slots)
        ctx.shape, ctx.dtype = prompts.shape, prompts.dtype
        ctx.writes_prompts = writes_prompts
        hidden = table.shape[1]
        inputs = table.new_empty((*ids.shape, hidden))
        block, warps = launch_shape(hidden)
        with torch.cuda.device_of(ids):
            gather_rows[(ids.numel(), triton.cdiv(hidden, block))](
                inputs,
                table,
                ids,
                prompts.contiguous(),
                tasks,
                slots,
                *shard,
                ids.shape[1],
                prompts.shape[1],
                WRITES_PROMPTS=writes_prompts,
                HIDDEN=hidden,
                BLOCK=block,
                num_warps=warps,
            )
        return inputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tasks, slots = ctx.saved_tensors
        if ctx.writes_prompts:
            total = sum_by_cell(gradient, tasks, slots, ctx.shape)
        else:
            total = gradient.new_zeros(ctx.shape, dtype=torch.float32)
        return total.to(ctx.dtype), *[None] * 6


def sum_by_cell(
    gradient: Tensor,
    tasks: Tensor,
    slots: Tensor,
    shape: tuple[int, int, int],
    parts: int | None = None,
) -> Tensor:
    """Gradient of P from the gradient of the inputs, the same bits every time.

    Args:
        gradient: (N, T, H), any float dtype.
        tasks: (N,) int64.
        slots: (N, T) int64, slot number or NO_SLOT.
        shape: (R, S, H) of P.
        parts: into how many partial sums each cell's rows are split; None chooses by the sizes.

    Returns:
        (R, S, H) fp32; zero where a cell has no place.
    """
    num_tasks, num_slots, hidden = shape
    num_cells = num_tasks * num_slots
    block, warps = launch_shape(hidden)
    blocks = triton.cdiv(hidden, block)
    parts = parts or num_parts(len(slots), num_cells * blocks)
    order, offsets = group_by_cell(tasks, slots, num_tasks, num_slots)
    sums = gradient.new_empty((parts, *shape), dtype=torch.float32)
    constants = {"HIDDEN": hidden, "BLOCK": block, "num_warps": warps}
    with torch.cuda.device_of(gradient):
        grid = (num_cells, blocks, parts)
        sum_rows[grid](sums, gradient.contiguous(), order, offsets, **constants)
        if parts == 1:
            return sums[0]
        total = torch.empty_like(sums[0])
        add_parts[(num_cells, blocks)](total, sums, parts, **constants)
    return total


def group_by_cell(
    tasks: Tensor, slots: Tensor, num_tasks: int, num_slots: int
) -> tuple[Tensor, Tensor]:
    """Sort places by cell, those of one cell by place, without waiting for the device.

    Returns:
        order: (N * T,) int64, flat places; those without a slot come last.
        offsets: (R * S + 1,) int64, where each cell's run in ``order`` starts; then where the
            last one ends.
    """
    num_cells = num_tasks * num_slots
    cells = torch.where(slots >= 0, tasks[:, None] * num_slots + slots, num_cells)
    in_order, order = cells.reshape(-1).sort(stable=True)
    borders = torch.arange(num_cells + 1, device=slots.device)
    return order, torch.searchsorted(in_order, borders)


def launch_shape(hidden: int, lanes: int | None = None) -> tuple[int, int]:
    """Block of columns and number of warps such that each lane moves 16 bytes of 16-bit values.

    Args:
        lanes: lanes of a warp; None for those of the GPUs that this PyTorch is built for.
    """
    lanes = lanes or (64 if torch.version.hip else 32)
    needed = triton.cdiv(triton.next_power_of_2(hidden), lanes * _VALUES_PER_LANE)
    warps = min(needed, _MAX_WARPS)
    return warps * lanes * _VALUES_PER_LANE, warps


def num_parts(num_rows: int, num_programs: int) -> int:
    """How often to split each cell's sum: few cells alone would leave most of a GPU idle.

    Depends on nothing but the sizes, so that the order of addition is the same on any device.

    Args:
        num_rows: N; a cell has at most that many places where each row uses a slot once.
        num_programs: programs without a split.
    """
    useful = triton.cdiv(num_rows, _MIN_ROWS_PER_PART)
    return max(1, min(useful, triton.cdiv(_ENOUGH_PROGRAMS, max(1, num_programs))))
