"""What a server does before it is ready."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.parallel import Mesh, Stopped, StopSignal, TextLimit, World, parallelize
from ptune_scale.parallel.degrees import Degrees
from ptune_scale.serve.run import _compile
from ptune_scale.task.example import NO_SLOT, Example, collate
from ptune_scale.task.objective import cross_entropy


def row(before: int, slots: int, behind: int, first: int) -> Example:
    """A row with so many tokens before and behind its slots."""
    count = before + slots + behind
    places = (*[NO_SLOT] * before, *range(slots), *[NO_SLOT] * behind)
    ids = tuple((first + number) % 90 for number in range(count))
    return Example(0, ids, places, (count - 1,), (5,))


def test_no_request_waits_for_the_compiler(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is compiled anew is decided in front of whatever writes the code.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    world = World()
    backbone = load_backbone(str(tiny_llama), shortcuts=Shortcuts(compiled_layers=True))
    texts = TextLimit(0.1, tmp_path)
    function = parallelize(backbone, Mesh.build(world, Degrees()), texts=texts)
    stop = StopSignal(world)
    _compile(function, backbone, 16384, stop)
    compiled = counters["stats"]["unique_graphs"]
    assert compiled > 1
    prompts = torch.zeros(1, 4, backbone.hidden_size)
    for before, behind in ((0, 5), (2, 6), (3, 4), (30, 3)):
        for count in (1, 2, 24):
            rows = collate([row(before, 4, behind, 7 * number) for number in range(count)])
            function.loss_and_gradient(rows, prompts, cross_entropy)
            function.top(rows, prompts, 1)
    assert counters["stats"]["unique_graphs"] == compiled


def test_a_server_that_compiles_can_be_told_to_end(tiny_llama: Path) -> None:
    world = World()
    backbone = load_backbone(str(tiny_llama))
    function = parallelize(backbone, Mesh.build(world, Degrees()))
    stop = StopSignal(world)
    stop._note(15, None)
    with pytest.raises(Stopped):
        _compile(function, backbone, 16384, stop)
