"""How a job's forward pass is computed: measured where that is worth it, and the same for all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.backbone.shortcuts import DEFAULT
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, Mesh, World
from ptune_scale.run import speed
from ptune_scale.run.speed import Planned, choose_speed
from ptune_scale.task.example import Example

ROWS = [
    Example(0, (5, 6, 7, 8), (0, -1, -1, 1), (3,), (9,)),
    Example(1, (5, 6, 7), (0, -1, 1), (2,), (9,)),
]
LONG = Planned(ROWS, num_slots=2, trained=10**12, asked=0)
FOUND = {"attention": "sdpa", "packing_gain": 1.1, "is_prepared": True, "token_seconds": 1e-3}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTUNE_SCALE_CACHE", str(tmp_path))
    return tmp_path / "speed"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch):
    """Sets what is measured; returns how often it was."""
    times: list[int] = []

    def as_if(**changed: Any) -> list[int]:
        def measure(*args: Any) -> dict[str, Any]:
            times.append(1)
            return FOUND | changed

        monkeypatch.setattr(speed, "_measure", measure)
        monkeypatch.setattr(speed, "can_compile", lambda device: True)
        return times

    return as_if


def chosen(backbone: Backbone, planned: Planned) -> tuple[str, bool, bool]:
    choose_speed(backbone, Mesh.build(World(), Degrees()), lambda: planned)
    way = backbone.shortcuts
    assert replace(way, compiled_layers=False, packed_weights=False) == DEFAULT
    return backbone.attention, way.compiled_layers, way.packed_weights


def test_a_long_job_is_compiled_and_packed_and_says_so(tiny_llama, measured, capsys):
    measured()
    assert chosen(load_backbone(str(tiny_llama)), LONG) == ("sdpa", True, True)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("speed: layers are compiled") and "--speed plain" in line


def test_what_takes_less_than_compiling_is_not_compiled(tiny_llama, measured, capsys):
    measured(token_seconds=1e-12)
    assert chosen(load_backbone(str(tiny_llama)), LONG) == ("sdpa", False, False)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "way"),
    [
        ({"packing_gain": 1.01}, ("sdpa", True, False)),
        ({"is_prepared": False, "packing_gain": 1.0}, ("sdpa", False, False)),
        ({"attention": "eager"}, ("eager", True, True)),
    ],
)
def test_only_what_was_measured_as_a_gain_is_switched_on(changed, way, tiny_llama, measured):
    measured(**changed)
    assert chosen(load_backbone(str(tiny_llama)), LONG) == way


def test_a_short_job_measures_nothing(tiny_llama, measured):
    times = measured()
    short = Planned(ROWS, num_slots=2, trained=1000, asked=1000)
    assert chosen(load_backbone(str(tiny_llama)), short) == ("eager", False, False)
    assert not times


def test_it_is_measured_once_for_jobs_alike(tiny_llama, measured):
    times = measured()
    for dtype in (torch.float32, torch.float32, torch.bfloat16):
        chosen(load_backbone(str(tiny_llama), dtype=dtype), LONG)
    assert len(times) == 2


def test_a_model_that_is_loaded_stays_as_it_is(tiny_llama, measured):
    times, backbone = measured(), load_backbone(str(tiny_llama))
    backbone.lm  # noqa: B018
    assert chosen(backbone, LONG) == ("eager", False, False) and not times


@pytest.mark.parametrize("trained", [10**12, 0])
@pytest.mark.parametrize("name", ["tiny_llama", "tiny_gpt2", "tiny_bert"])
def test_every_family_can_be_measured(name, trained, request, monkeypatch):
    monkeypatch.setattr(speed, "_RACE_SECONDS", 0.0)
    backbone = load_backbone(str(request.getfixturevalue(name)), dtype=torch.bfloat16)
    planned = replace(LONG, trained=trained)
    mesh = Mesh.build(World(), Degrees())
    found = speed._measure(backbone, mesh, ROWS, planned)
    assert found is not None
    assert found["is_prepared"] == (name == "tiny_llama")
    assert found["attention"] in ("eager", "sdpa") and found["token_seconds"] > 0


def test_a_family_of_which_no_sample_can_be_had_is_computed_by_default(tiny_llama, monkeypatch):
    def refuse(*args: Any) -> None:
        raise UserError("no")

    monkeypatch.setattr(speed, "thin_copy", refuse)
    assert chosen(load_backbone(str(tiny_llama)), LONG) == ("eager", False, False)
