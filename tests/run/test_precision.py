"""Where nobody says in which precision, it is what the machine is fast in, and the same on all."""

import json
import os

import pytest
import torch

from ptune_scale.backbone.precision import fast_dtype, torch_dtype
from ptune_scale.run import precision
from ptune_scale.run.precision import say_precision, with_precision
from ptune_scale.tune.config import OwnConfig, PredictConfig
from tests.forked import fork, fork_ranks
from tests.run import small_job


@pytest.mark.parametrize(
    ("has", "fast"),
    [
        ({"avx2": True}, "float32"),
        ({"avx512_f": True, "avx512_bf16": False, "amx_tile": True}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"architecture": "aarch64", "bf16": True}, "bfloat16"),
    ],
)
def test_bfloat16_is_taken_where_the_processor_multiplies_it(has, fast, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert fast_dtype() == fast
    assert torch_dtype("auto") == getattr(torch, fast)
    assert torch_dtype("bfloat16") == torch.bfloat16
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert fast_dtype() == "float32"


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), "float32"), ((9, 0), "bfloat16")])
def test_a_gpu_is_asked_where_one_computes(capability, fast, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert fast_dtype() == fast
    assert fast_dtype(gpu=None) == "float32"


@pytest.mark.parametrize("config", [OwnConfig, PredictConfig])
@pytest.mark.parametrize("fast", ["float32", "bfloat16"])
def test_auto_is_settled_and_said_and_what_is_typed_stays(config, fast, monkeypatch, capsys):
    monkeypatch.setattr(precision, "fast_dtype", lambda gpu: fast)
    flags = {"task": ["t.toml"]} if config is OwnConfig else {"prompt": "p", "input": "i"}
    typed = config.from_flags(flags)
    settled = with_precision(typed)
    say_precision(typed, settled)
    assert settled.as_flags()["dtype"] == fast
    said = capsys.readouterr().err
    assert said.count("precision: float32") == (fast == "float32") and said.count("\n") <= 1
    for typed in ("float32", "bfloat16"):
        kept = with_precision(config.from_flags({**flags, "dtype": typed}))
        assert kept.as_flags()["dtype"] == typed
    served = with_precision(config.from_flags({**flags, "backbone": "http://h:1"}))
    assert served.as_flags()["dtype"] == "auto" and not capsys.readouterr().err


def _elsewhere(flags: list[str]) -> int:
    """A job on a machine that is fast in the other precision."""
    other = "float32" if fast_dtype() == "bfloat16" else "bfloat16"
    precision.fast_dtype = lambda gpu: other  # type: ignore[assignment]
    return small_job.main(flags)


def test_what_was_settled_is_what_the_run_goes_on_with(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def told() -> str:
        return json.loads((tmp_path / "out" / "run.json").read_text())["flags"]["dtype"]

    flags = ["--output_dir", "out", "--end", "stopped"]
    assert fork(tmp_path / "log", small_job.main, flags).wait() == 128 + 15
    assert told() == fast_dtype()
    assert fork(tmp_path / "log", _elsewhere, ["--resume_from", "out", "--end", "well"]).wait() == 0
    assert told() == fast_dtype()
    assert fork(tmp_path / "log", _elsewhere, ["--output_dir", "new"]).wait() == 0
    assert json.loads((tmp_path / "new" / "run.json").read_text())["flags"]["dtype"] != told()


def _on_unlike_machines(flags: list[str]) -> int:
    fast = "bfloat16" if os.environ["RANK"] == "1" else "float32"
    precision.fast_dtype = lambda gpu: fast  # type: ignore[assignment]
    return small_job.main(flags)


def test_ranks_that_are_fast_in_unlike_precisions_are_told_to_say_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ranks = fork_ranks(2, tmp_path, _on_unlike_machines, ["--output_dir", "out"])
    assert [rank.wait() for rank in ranks] == [2, 2]
    said = "".join(rank.said for rank in ranks)
    assert said.count("rank 1 on one that is fast in bfloat16; say which it is, --dtype") == 1
    assert not (tmp_path / "out" / "run.json").exists()
    ranks = fork_ranks(
        2, tmp_path, _on_unlike_machines, ["--output_dir", "out", "--dtype", "float32"]
    )
    assert [rank.wait() for rank in ranks] == [0, 0]
