"""The fused splice as three Triton kernels: gather forward, sum backward, add partial sums.

One program handles one row of H values, or a block of it, so the choice between the vocabulary
and P is the same for all its lanes and costs a branch rather than a second load. ``HIDDEN`` is a
compile-time constant: the compiler can then prove that rows start at multiples of 16 bytes (where
H is a multiple of 8 in 16-bit, 4 in 32-bit) and loads 16 bytes at a time. Sizes that change from
batch to batch are not specialized on, as each variant would be compiled anew.

Shapes: N rows, T tokens, R tasks, S slots, H hidden size. A place is one of the N * T
positions, a cell one of the R * S rows of P. All tensors are contiguous.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["low", "high", "length", "num_slots"])
def gather_rows(
    inputs,
    table,
    ids,
    prompts,
    tasks,
    slots,
    low,
    high,
    length,
    num_slots,
    WRITES_PROMPTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write one place of the inputs. Grid: (N * T, blocks of H).

    Args:
        inputs: (N * T, H) result, any float dtype.
        table: (V, H) rows of the tokens [low, high).
        ids, slots: (N * T,) int64.
        prompts: (R * S, H).
        tasks: (N,) int64.
    """
    row = tl.program_id(0) // length
    place = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    in_row = columns < HIDDEN
    slot = tl.load(slots + place)
    values = tl.zeros([BLOCK], dtype=tl.float32)
    if slot >= 0:
        if WRITES_PROMPTS:
            cell = tl.load(tasks + row) * num_slots + slot
            values = tl.load(prompts + cell * HIDDEN + columns, in_row, 0.0).to(tl.float32)
    else:
        token = tl.load(ids + place)
        # A row that another rank holds is not read at all: its mask is false everywhere.
        mine = tl.where((token >= low) & (token < high), in_row, False)
        values = tl.load(table + (token - low) * HIDDEN + columns, mine, 0.0).to(tl.float32)
    tl.store(inputs + place * HIDDEN + columns, values.to(inputs.dtype.element_ty), in_row)


@triton.jit
def sum_rows(sums, gradient, order, offsets, HIDDEN: tl.constexpr, BLOCK: tl.constexpr):
    """Sum one part of a cell's gradient rows. Grid: (R * S, blocks of H, parts).

    The rows are added one after the other, in fp32 and in the order of their places. No two
    programs write to the same address, so nothing depends on which of them comes first.

    Args:
        sums: (parts, R * S, H) fp32 result.
        gradient: (N * T, H), any float dtype.
        order: places sorted by cell, int64.
        offsets: (R * S + 1,) int64; the places of a cell are order[offsets[cell]:offsets[cell+1]].
    """
    cell = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    part = tl.program_id(2)
    in_row = columns < HIDDEN
    start = tl.load(offsets + cell)
    stop = tl.load(offsets + cell + 1)
    share = tl.cdiv(stop - start, tl.num_programs(2))
    start += part * share
    stop = tl.minimum(start + share, stop)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for index in range(start, stop):
        place = tl.load(order + index)
        total += tl.load(gradient + place * HIDDEN + columns, in_row, 0.0).to(tl.float32)
    result = part * tl.num_programs(0) + cell
    tl.store(sums + result * HIDDEN + columns, total, in_row)


@triton.jit(do_not_specialize=["num_parts"])
def add_parts(total, sums, num_parts, HIDDEN: tl.constexpr, BLOCK: tl.constexpr):
    """Add the parts of a cell's sum, first to last. Grid: (R * S, blocks of H).

    Args:
        total: (R * S, H) fp32 result.
        sums: (parts, R * S, H) fp32.
    """
    cell = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    in_row = columns < HIDDEN
    values = tl.zeros([BLOCK], dtype=tl.float32)
    for part in range(num_parts):
        row = part * tl.num_programs(0) + cell
        values += tl.load(sums + row * HIDDEN + columns, in_row, 0.0)
    tl.store(total + cell * HIDDEN + columns, values, in_row)
