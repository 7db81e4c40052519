"""Chooses the splice implementation for the tensors at hand.

The fused kernels serve a GPU on which Triton can be imported, plain PyTorch serves the rest. On a
CPU there is nothing to gain from a kernel: the plain way makes one pass over the words there too.
"""

from functools import cache
from importlib.util import find_spec

from torch import Tensor

from ptune_scale.splice.reference import embed_and_splice_reference, splice_reference


def splice(words: Tensor, prompts: Tensor, tasks: Tensor, slots: Tensor) -> Tensor:
    """Write each row's prompt vectors into its prompt slots.

    Args:
        words: (N, T, H) word embeddings, any float dtype; where they require a gradient, those that
            no prompt is written over get it.
        prompts: (R, S, H) prompt matrix P; gradients flow here.
        tasks: (N,) int64, the row of P that belongs to each input row.
        slots: (N, T) int64, slot number or NO_SLOT.

    Returns:
        (N, T, H) in the dtype of ``words``.
    """
    return splice_reference(words, prompts, tasks, slots)


def embed_and_splice(
    table: Tensor,
    ids: Tensor,
    prompts: Tensor,
    tasks: Tensor,
    slots: Tensor,
    *,
    shard: tuple[int, int] | None = None,
    writes_prompts: bool = True,
) -> Tensor:
    """Look up word embeddings and write prompt rows into the slots, in one pass.

    A rank that holds only a shard of the vocabulary writes zeros for other ranks' words, and a sum
    over the ranks completes the result. Prompt rows come from no shard and would be counted once
    per rank there, so exactly one rank may pass ``writes_prompts``; on the others prompt places and
    dP are zero.

    Args:
        table: (V, H) embedding table, or this rank's rows of it; never gets a gradient.
        ids: (N, T) int64 token ids; what stands at prompt places is not read.
        prompts: (R, S, H) prompt matrix P; gradients flow here and nowhere else, summed in fp32.
        tasks: (N,) int64, the row of P that belongs to each input row.
        slots: (N, T) int64, slot number or NO_SLOT.
        shard: tokens ``[low, high)`` that ``table`` holds, its row 0 being token ``low``; None for
            the whole vocabulary. Rows of ``table`` beyond ``high`` are padding.
        writes_prompts: whether this rank writes prompt rows.

    Returns:
        (N, T, H) inputs for the model in the dtype of ``table``, differentiable in ``prompts``.

    Raises:
        ValueError: shapes that do not fit together.
        IndexError: on a CPU, an id or task out of range. The fused kernels do not check them,
            as the host would have to wait for the answer; slot numbers are never checked.
    """
    _check(table, ids, prompts, tasks, slots, shard)
    implementation = embed_and_splice_reference
    if ids.is_cuda and _has_triton():
        from ptune_scale.splice.triton_splice import embed_and_splice_triton

        implementation = embed_and_splice_triton
    return implementation(
        table, ids, prompts, tasks, slots, shard=shard, writes_prompts=writes_prompts
    )


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _check(
    table: Tensor,
    ids: Tensor,
    prompts: Tensor,
    tasks: Tensor,
    slots: Tensor,
    shard: tuple[int, int] | None,
) -> None:
    if slots.shape != ids.shape or tasks.shape != ids.shape[:1]:
        raise ValueError(
            f"ids {tuple(ids.shape)}, slots {tuple(slots.shape)} and tasks "
            f"{tuple(tasks.shape)} do not describe the same rows"
        )
    if prompts.shape[2] != table.shape[1]:
        raise ValueError(
            f"prompts of size {prompts.shape[2]} in embeddings of size {table.shape[1]}"
        )
    if shard is not None and not 0 <= shard[0] <= shard[1] <= shard[0] + table.shape[0]:
        raise ValueError(f"a table of {table.shape[0]} rows cannot hold the tokens {shard}")
