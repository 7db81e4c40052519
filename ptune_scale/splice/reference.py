"""The plain splice: the contract that any fused kernel is tested against."""

from torch import Tensor


def splice_reference(words: Tensor, prompts: Tensor, relations: Tensor, slots: Tensor) -> Tensor:
    """Gather the rows of P that are needed and copy them over the word embeddings.

    The backward pass of the two index operations adds up in a fixed order on a CPU, and in the
    dtype of ``prompts``: dP is summed in fp32 whatever the backbone computes in.

    Args and returns: see ``ptune_scale.splice.dispatch.splice``.
    """
    num_slots, hidden = prompts.shape[1:]
    flat_slots = slots.reshape(-1)
    places = (flat_slots >= 0).nonzero().squeeze(1)
    if places.numel() == 0:
        return words
    rows = relations.repeat_interleave(slots.shape[1])[places]
    cells = rows * num_slots + flat_slots[places]
    values = prompts.reshape(-1, hidden).index_select(0, cells).to(words.dtype)
    return words.reshape(-1, hidden).index_copy(0, places, values).view_as(words)
