"""A dry run finds what real ranks hold and send."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from ptune_scale.parallel import Degrees
from ptune_scale.parallel.footprint import sent
from ptune_scale.plan import LayoutPlan, Planner, Request

WORKER = Path(__file__).with_name("traffic_worker.py")
ROOT = WORKER.parents[2]


def plan(model: Path, ranks: int, layout: str, **values: Any) -> LayoutPlan:
    config = AutoConfig.from_pretrained(model)
    request = Request(name="small", config=config, dtype=torch.float32, num_gpus=ranks, **values)
    tensor, pipeline, zero_stage = map(int, layout.split("-"))
    degrees = Degrees.resolve(ranks, tensor=tensor, pipeline=pipeline, zero_stage=zero_stage)
    return Planner(request).plan(degrees)


@pytest.mark.parametrize("family", ["gpt2", "llama", "llama_untied", "megatron"])
def test_local_elements_are_those_of_two_ranks(family, small_model, run_layouts):
    layouts = ["1-1-0", "1-1-3", "2-1-0", "1-2-0"]
    assert_same_elements(small_model(family), 2, layouts, run_layouts)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_local_elements_are_those_of_four_ranks(family, small_model, run_layouts):
    layouts = ["4-1-0", "1-4-0", "2-2-0"]
    if family == "gpt2":
        layouts.append("2-1-3")
    assert_same_elements(small_model(family), 4, layouts, run_layouts)


def assert_same_elements(model: Path, ranks: int, layouts: list[str], run_layouts: Any) -> None:
    for layout, real in zip(layouts, run_layouts(model, ranks, layouts), strict=True):
        found = plan(model, ranks, layout)
        planned = [rank.parameters for rank in found.ranks for _ in range(rank.count)]
        assert sorted(planned) == sorted(real["local"].tolist()), found.degrees.name


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_bytes_sent_are_those_of_two_ranks(family, small_model, tmp_path):
    """Real payloads of the third step, by when DeepSpeed knows the order of modules."""
    layouts = ["1-1-0", "1-1-3", "2-1-0", "1-2-0"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, *torchrun, str(WORKER), str(small_model(family)), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *layouts], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    sizes = {"relations": 2, "slots": 2, "batch_size": 8, "sequence_length": 16}
    for layout in layouts:
        payloads = json.loads((tmp_path / f"{layout}.json").read_text())
        real = {kind: 0 for kind in ("all_gather", "all_reduce", "point_to_point")}
        for kind, size in payloads.items():
            real[kind] = size if kind == "point_to_point" else sent(kind, size, 2)
        first = plan(small_model(family), 2, layout, **sizes).ranks[0]
        planned = {kind: sum(both.values()) for kind, both in first.communication.items()}
        assert planned == real, layout
