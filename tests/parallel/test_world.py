"""What ranks agree on, with the other rank's part played by the test."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.files import NotWritten
from ptune_scale.parallel import EncoderPlacement, World


@dataclass(frozen=True)
class WithAnother(World):
    """A world of two, in which rank 1 contributes what the test says."""

    size: int = 2
    other: Any = None

    def gather(self, value: Any) -> list[Any]:
        return [value, self.other]


def fail(error: Exception) -> None:
    raise error


def test_together_returns_what_each_rank_returned() -> None:
    assert World().together(lambda: 5) == [5]
    assert WithAnother(other=(6, None)).together(lambda: 5) == [5, 6]


def test_an_error_for_the_user_on_another_rank_is_raised_here_too() -> None:
    with pytest.raises(UserError, match="no such file"):
        WithAnother(other=(None, (UserError, "no such file"))).together(lambda: 5)
    with pytest.raises(UserError, match="no such file"):
        WithAnother(other=(None, (False, "lost"))).together(lambda: fail(UserError("no such file")))


def test_another_error_is_raised_as_it_is_here_and_by_its_message_elsewhere() -> None:
    with pytest.raises(OSError, match="full"):
        WithAnother(other=(5, None)).together(lambda: fail(OSError("disk full")))
    with pytest.raises(RuntimeError, match="rank 1 failed: disk full"):
        WithAnother(other=(None, (None, "disk full"))).together(lambda: 5)


def test_replicas_that_differ_are_noticed() -> None:
    tensors = {0: [torch.ones(3)]}
    differs = WithAnother(other={0: "another digest"})
    with pytest.raises(RuntimeError, match="differ between ranks"):
        EncoderPlacement("replicated", differs, ((0, 1),)).check_replicas(tensors)
    # Rank 1 holds none; then nothing is to be compared.
    EncoderPlacement("replicated", WithAnother(other={}), ((0, 1),)).check_replicas(tensors)
    EncoderPlacement("owned", differs, ((0,),)).check_replicas(tensors)


def test_a_disk_that_is_full_on_one_rank_is_one_line_on_all() -> None:
    with pytest.raises(NotWritten, match="No space left"):
        WithAnother(other=(5, None)).together(lambda: fail(OSError(28, "No space left", "out")))
    with pytest.raises(NotWritten, match="No space left"):
        WithAnother(other=(None, (NotWritten, "No space left"))).together(lambda: 5)
