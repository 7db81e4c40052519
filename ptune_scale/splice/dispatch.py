"""Chooses the splice implementation for the tensors at hand."""

from torch import Tensor

from ptune_scale.splice.reference import splice_reference


def splice(words: Tensor, prompts: Tensor, relations: Tensor, slots: Tensor) -> Tensor:
    """Write each row's prompt vectors into its prompt slots.

    One implementation exists, in plain PyTorch, and it serves every device. A fused kernel is
    added here, chosen by ``words.device``; its contract is ``splice_reference``.

    Args:
        words: (N, T, H) word embeddings, any float dtype, without gradient.
        prompts: (R, S, H) prompt matrix P; gradients flow here and nowhere else.
        relations: (N,) int64, the row of P that belongs to each input row.
        slots: (N, T) int64, slot number or NO_SLOT.

    Returns:
        (N, T, H) in the dtype of ``words``.
    """
    return splice_reference(words, prompts, relations, slots)
