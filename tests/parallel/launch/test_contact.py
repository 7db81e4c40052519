import pytest
import torch.distributed as dist

from ptune_scale.parallel import LostContact
from ptune_scale.parallel.launch import contact

CLOSED = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer "
    "[10.0.0.2]:7386. This is typically caused by a remote worker crashing. Check the logs."
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError(CLOSED), "Connection closed by peer [10.0.0.2]:7386"),
        (
            RuntimeError("[/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 5ms for x"),
            "Timed out waiting 5ms for x",
        ),
        (
            dist.DistBackendError("NCCL error in: a.cpp:1\nncclRemoteError: A call failed"),
            "NCCL error in: a.cpp:1",
        ),
        (dist.DistNetworkError("Failed to recv, got 0 bytes\nframe #0"), "Failed to recv"),
    ],
)
def test_lost_rank_is_recognized_and_the_reason_is_one_line(error, reason):
    with pytest.raises(LostContact) as lost, contact.kept():
        raise error
    assert str(lost.value).startswith(f"lost contact with another rank ({reason}")
    assert "\n" not in str(lost.value) and "typically" not in str(lost.value)


def test_cause_behind_a_library_s_own_error_counts():
    outer = RuntimeError("[Stage 1] failed to run forward")
    outer.__cause__ = RuntimeError(CLOSED)
    assert contact.loss_of_contact(outer) is not None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("[/gloo/transport/tcp/pair.cc:9] op.preamble.length <= op.nbytes. 8 vs 4"),
        RuntimeError("the request timed out"),
    ],
)
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(RuntimeError) as same, contact.kept():
        raise error
    assert same.value is error
