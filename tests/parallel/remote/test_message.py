"""Bodies: what is packed is unpacked, and what is no body of this version is refused."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save

from ptune_scale.parallel.remote.message import VERSION, Malformed, pack, unpack

BODY = pack({"kind": "loss", "numbers": [1, 2.5]}, {"a": torch.arange(6).view(2, 3)})


def test_a_body_is_read_as_it_was_written_and_is_a_safetensors_file() -> None:
    header, tensors = unpack(BODY)
    assert header == {"version": VERSION, "kind": "loss", "numbers": [1, 2.5]}
    assert torch.equal(tensors["a"], torch.arange(6).view(2, 3))
    empty = unpack(pack({}, {"none": torch.zeros(3, 0, 4)}))[1]["none"]
    assert empty.shape == (3, 0, 4)


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "cut off, or no safetensors"),
        (b"1234567", "cut off, or no safetensors"),
        (BODY[:-1], "tensors cannot be read"),
        (BODY[:40], "cut off, or no safetensors"),
        (BODY + b"more", "tensors cannot be read"),
        ((2**62).to_bytes(8, "little") + b"{}", "cut off, or no safetensors"),
        (pickle.dumps({"a": 1}), "cut off, or no safetensors|no header"),
        (save({"a": torch.ones(1)}), "no header of this protocol"),
        (save({"a": torch.ones(1)}, {"ptune_scale": "[]"}), "no header of this protocol"),
        (save({"a": torch.ones(1)}, {"ptune_scale": "{}"}), "no header of this protocol"),
        (save({"a": torch.ones(1)}, {"ptune_scale": json.dumps({"version": 1})}), "version 1"),
        (save({"a": torch.ones(1)}, {"ptune_scale": '{"version": true}'}), "version True"),
        (save({"a": torch.ones(1)}, {"ptune_scale": '{"version": 1, "version": 1}'}), "twice"),
    ],
)
def test_what_is_no_body_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        unpack(body)
