"""A dry run finds what real ranks send; what they hold, see ``test_layouts``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.parallel.footprint import sent

WORKER = Path(__file__).with_name("traffic_worker.py")
ROOT = WORKER.parents[2]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_bytes_sent_are_those_of_two_ranks(family, small_model, tmp_path, plan_layout):
    """Real payloads of the third step, by when DeepSpeed knows the order of modules."""
    layouts = ["1-1-0", "1-1-3", "2-1-0", "1-2-0"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, *torchrun, str(WORKER), str(small_model(family)), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *layouts], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    sizes = {"tasks": 2, "slots": 2, "batch_size": 8, "sequence_length": 16}
    for layout in layouts:
        payloads = json.loads((tmp_path / f"{layout}.json").read_text())
        real = {kind: 0 for kind in ("all_gather", "all_reduce", "point_to_point")}
        for kind, size in payloads.items():
            real[kind] = size if kind == "point_to_point" else sent(kind, size, 2)
        first = plan_layout(small_model(family), 2, layout, **sizes).ranks[0]
        planned = {kind: sum(both.values()) for kind, both in first.communication.items()}
        assert planned == real, layout
