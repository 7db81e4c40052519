"""Whether a saved state is one of the same kind as the state whose place it takes."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ptune_scale.errors import UserError


def check_like(saved: Any, now: Any, where: str) -> None:
    """Make sure that a saved state has the names, types, shapes and lengths of one that is there.

    Lists that are empty there grow in training, and may hold any numbers.

    Args:
        where: what is read, for the message.

    Raises:
        UserError: it has not, or its numbers are not finite.
    """
    if not _is_like(saved, now):
        raise UserError(f"{where} is not as it was written; use an older checkpoint")


def check_adam(saved: Any, parameters: Sequence[Tensor], where: str) -> None:
    """Make sure that a saved state is one of Adam's for these parameters.

    Raises:
        UserError: it is none.
    """
    moments = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(moments, dict) or not moments.keys() <= set(range(len(parameters))):
        raise UserError(f"{where} is not as it was written; use an older checkpoint")
    for place, found in moments.items():
        like = parameters[place]
        now = {"step": like.new_zeros(()), "exp_avg": like, "exp_avg_sq": like}
        check_like(found, now, where)


def _is_like(saved: Any, now: Any) -> bool:
    if isinstance(now, Tensor):
        same = isinstance(saved, Tensor) and saved.shape == now.shape and saved.dtype == now.dtype
        return same and bool(saved.isfinite().all())
    if isinstance(now, dict):
        return (
            isinstance(saved, dict)
            and saved.keys() == now.keys()
            and all(_is_like(saved[key], now[key]) for key in now)
        )
    if type(saved) is not type(now):
        return False
    if isinstance(now, list) and now:
        return len(saved) == len(now) and all(map(_is_like, saved, now))
    if isinstance(now, list | tuple):
        return all(type(each) in (int, float) for each in saved)
    return True
