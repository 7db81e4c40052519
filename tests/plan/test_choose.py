"""The layout of a job that asks for ranks alone: the fastest that fits, said in a line."""

from pathlib import Path

import pytest
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.parallel import Degrees
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.plan import Planner, Request
from ptune_scale.plan.choose import Work, open_in_layout
from ptune_scale.run.config import ModelConfig, ParallelConfig, PromptConfig

PROMPT = PromptConfig(encoder="none")


@pytest.fixture(autouse=True)
def nothing_found_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTUNE_SCALE_CACHE", str(tmp_path))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch):
    """Sets the bytes that each of two ranks may use."""

    def of_each(size: int) -> None:
        monkeypatch.setattr(launch, "host_memory", lambda: 2 * (size + launch.RANK_BYTES))

    return of_each


def chosen(model: Path, work: Work | None = None, bits: str = "full", **layout: object) -> str:
    flags = ModelConfig(model=str(model), dtype="float32", weight_bits=bits)
    parallel = ParallelConfig(num_gpus=2, **layout)
    work = work or Work(rows=2, length=4, tasks=1)
    return open_in_layout(flags, parallel, PROMPT, work)[0].name


def test_replicas_where_they_fit(tiny_llama, memory, capsys):
    memory(10**9)
    assert chosen(tiny_llama) == "dp2"
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("layout: 2 replicas (model 0.0 GiB each of 0.9 GiB)")
    assert "--zero_stage 3" in line


def test_zero3_where_a_replica_does_not_fit(tiny_llama, memory, capsys):
    # A copy that trains has the optimizer's state, which ZeRO-3 shares too.
    work = Work(rows=2, length=4, tasks=1, tunes_backbone=True)
    config = load_backbone(str(tiny_llama)).config
    request = Request(
        name="x",
        config=config,
        dtype=torch.float32,
        num_gpus=2,
        batch_size=2,
        sequence_length=4,
        tasks=1,
        encoder="none",
    )
    replica = Planner(request).plan(Degrees(data=2)).fullest
    memory(int((replica.memory["total"] + 15 * replica.parameters) / 0.9))
    assert chosen(tiny_llama, work) == "zero3"
    assert "layout: ZeRO-3 on 2 ranks, as a replica needs" in capsys.readouterr().err


def test_what_fits_nowhere_is_laid_out_so_that_it_needs_least(tiny_llama, memory, capsys):
    memory(1)
    assert chosen(tiny_llama) in {"tp2", "pp2", "zero3"}
    assert "no layout fits" in capsys.readouterr().err


@pytest.mark.parametrize("work", [{"tunes_backbone": True}, {"whole_layers": True}])
def test_what_needs_whole_layers_is_never_spread(work, tiny_llama, memory, capsys):
    memory(1)
    assert chosen(tiny_llama, Work(rows=2, length=4, tasks=1, **work)) == "zero3"
    assert "nothing fits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ({"zero_stage": 3}, "zero3"),
        ({"zero_stage": 0}, "dp2"),
        ({"tensor_parallel": 2}, "tp2"),
        ({"pipeline_parallel": -1}, "pp2"),
        ({"deepspeed_config": "ds_configs/zero3.json"}, "zero3"),
    ],
)
def test_what_is_typed_is_taken(layout, name, tiny_llama, memory, capsys):
    memory(1)
    assert chosen(tiny_llama, **layout) == name
    assert not capsys.readouterr().err


def test_weights_of_few_bits_are_not_parted(tiny_llama, memory):
    pytest.importorskip("bitsandbytes")
    memory(1)
    assert chosen(tiny_llama, bits="8") == "dp2"


def test_it_is_planned_once(tiny_llama, memory, monkeypatch):
    memory(10**9)
    assert chosen(tiny_llama) == "dp2"
    monkeypatch.delattr("ptune_scale.plan.choose.Planner.plan")
    assert chosen(tiny_llama) == "dp2"


def test_one_process_has_nothing_to_choose(tiny_llama, capsys):
    degrees = open_in_layout(
        ModelConfig(model=str(tiny_llama)), ParallelConfig(), PROMPT, Work(rows=1)
    )[0]
    assert degrees == Degrees() and not capsys.readouterr().err
