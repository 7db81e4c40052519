"""Where nobody says in which precision, it is what the machine is fast in, and the same on all."""

import json
import os

import pytest
import torch

from ptune_scale.backbone import precision as of_backbone
from ptune_scale.backbone.precision import fast_dtype, torch_dtype
from ptune_scale.run import precision
from ptune_scale.run.precision import say_precision, with_precision
from ptune_scale.tune.config import OwnConfig, PredictConfig
from tests.forked import fork, fork_ranks
from tests.run import small_job

_PRODUCTS = {"AVX512_BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}


@pytest.mark.parametrize("has", ["", *_PRODUCTS])
def test_bfloat16_is_taken_where_the_processor_multiplies_it(has, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for name, probe in _PRODUCTS.items():
        monkeypatch.setattr(torch.cpu, probe, lambda name=name: name == has)
    assert fast_dtype() == ("bfloat16" if has else "float32")
    assert torch_dtype("auto") == (torch.bfloat16 if has else torch.float32)
    assert torch_dtype("bfloat16") == torch.bfloat16


@pytest.mark.parametrize("config", [OwnConfig, PredictConfig])
@pytest.mark.parametrize("fast", ["float32", "bfloat16"])
def test_auto_is_settled_and_said_and_what_is_typed_stays(config, fast, monkeypatch, capsys):
    monkeypatch.setattr(precision, "fast_dtype", lambda: fast)
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


def test_what_was_settled_is_what_the_run_goes_on_with(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fork(tmp_path / "log", small_job.main, ["--output_dir", "out"]).wait() == 0
    saved = json.loads((tmp_path / "out" / "run.json").read_text())
    assert saved["flags"]["dtype"] == fast_dtype()


def _on_unlike_machines(flags: list[str]) -> int:
    fast = "bfloat16" if os.environ["RANK"] == "1" else "float32"
    of_backbone.fast_dtype = precision.fast_dtype = lambda: fast  # type: ignore[assignment]
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
