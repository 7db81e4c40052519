"""Another rank lost, told apart from an error of this one.

A rank that is killed, or whose machine goes down, shows on the others as an error of whichever
library was waiting for it: gloo or NCCL, called by torch, DeepSpeed or a pipeline schedule. All of
these are a ``RuntimeError``, like most bugs are; only the text says which.
"""

import contextlib
import re
from collections.abc import Iterator

import torch.distributed as dist

_LIBRARY = re.compile(r"gloo|nccl", re.IGNORECASE)
# Other complaints of these libraries, such as about sizes that differ, are bugs and stay as loud.
_SIGNS = re.compile(
    r"connection (closed|reset|refused|aborted)|broken pipe|timed? ?out|no route to host|"
    r"remote process|ncclRemoteError|ncclSystemError|communicator was aborted",
    re.IGNORECASE,
)
_SOURCE_LINE = re.compile(r"^\[\S+:\d+\] ")
_ADVICE = re.compile(r"\. This (is typically|may indicate).*")


class LostContact(Exception):
    """Another rank is gone, or does not answer any more."""


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Run what needs the other ranks.

    Raises:
        LostContact: in place of the libraries' errors, with the reason in one line.
    """
    try:
        yield
    except RuntimeError as error:
        reason = loss_of_contact(error)
        if reason is None:
            raise
        raise LostContact(f"lost contact with another rank ({reason})") from error


def loss_of_contact(error: BaseException | None) -> str | None:
    """How an error, or what caused it, says that another rank is gone; None if it does not."""
    while error is not None:
        if isinstance(error, LostContact):
            return str(error)
        text = str(error)
        # The store, through which ranks find each other, has classes for its errors.
        of_store = isinstance(error, dist.DistNetworkError | dist.DistStoreError)
        if of_store or (_LIBRARY.search(text) and _SIGNS.search(text)):
            first_line = text.strip().partition("\n")[0]
            return _ADVICE.sub("", _SOURCE_LINE.sub("", first_line))
        error = error.__cause__
    return None
