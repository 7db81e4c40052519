"""The plain splices: the contracts that any fused kernel is tested against."""

import torch
from torch import Tensor


def splice_reference(words: Tensor, prompts: Tensor, tasks: Tensor, slots: Tensor) -> Tensor:
    """Gather the rows of P that are needed and copy them over the word embeddings.

    The backward pass of the two index operations adds up in a fixed order on a CPU, and in the
    dtype of ``prompts``: dP is summed in fp32 whatever the backbone computes in. Without any slot
    dP is zero, not missing.

    Args and returns: see ``ptune_scale.splice.dispatch.splice``.
    """
    num_slots, hidden = prompts.shape[1:]
    flat_slots = slots.reshape(-1)
    places = (flat_slots >= 0).nonzero().squeeze(1)
    rows = tasks.repeat_interleave(slots.shape[1])[places]
    cells = rows * num_slots + flat_slots[places]
    values = prompts.reshape(-1, hidden).index_select(0, cells).to(words.dtype)
    return words.reshape(-1, hidden).index_copy(0, places, values).view_as(words)


def embed_and_splice_reference(
    table: Tensor,
    ids: Tensor,
    prompts: Tensor,
    tasks: Tensor,
    slots: Tensor,
    *,
    shard: tuple[int, int] | None = None,
    writes_prompts: bool = True,
) -> Tensor:
    """Look words up outside the graph, then copy prompt rows over them in place.

    In place because no one else holds the words, and on a tensor that is no view: only then does
    autograd read the prompt places alone, without copying the whole gradient first.

    Args, returns and errors: see ``ptune_scale.splice.dispatch.embed_and_splice``.
    """
    flat_slots = slots.reshape(-1)
    places = (flat_slots >= 0).nonzero().squeeze(1)
    with torch.no_grad():
        start = 0 if shard is None else shard[0]
        inputs = _look_up(table, ids.masked_fill(slots >= 0, start).reshape(-1), shard)
    cells = tasks[places // ids.shape[1]] * prompts.shape[1] + flat_slots[places]
    values = prompts.float().flatten(0, 1).index_select(0, cells)
    if not writes_prompts:  # stays in the graph: dP is zero, not missing
        values = values.masked_fill(torch.ones_like(values, dtype=torch.bool), 0.0)
    return inputs.index_copy_(0, places, values.to(table.dtype)).view(*ids.shape, table.shape[1])


def _look_up(table: Tensor, ids: Tensor, shard: tuple[int, int] | None) -> Tensor:
    if shard is None:
        return table.index_select(0, ids)
    outside = (ids < shard[0]) | (ids >= shard[1])
    rows = (ids - shard[0]).masked_fill(outside, 0)
    return table.index_select(0, rows).masked_fill_(outside.unsqueeze(1), 0.0)
