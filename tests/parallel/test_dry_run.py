"""A dry run finds what real ranks send; what they hold, see ``test_layouts``."""

import json

import pytest

from ptune_scale.parallel.footprint import sent
from tests.forked import run_ranks
from tests.parallel import traffic_worker


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_bytes_sent_are_those_of_two_ranks(family, small_model, tmp_path, plan_layout):
    """Real payloads of the third step, by when DeepSpeed knows the order of modules."""
    layouts = ["1-1-0", "1-1-3", "2-1-0", "1-2-0"]
    run_ranks(2, tmp_path, traffic_worker.main, str(small_model(family)), tmp_path, layouts)
    sizes = {"tasks": 2, "slots": 2, "batch_size": 8, "sequence_length": 16}
    for layout in layouts:
        payloads = json.loads((tmp_path / f"{layout}.json").read_text())
        real = {kind: 0 for kind in ("all_gather", "all_reduce", "point_to_point")}
        for kind, size in payloads.items():
            real[kind] = size if kind == "point_to_point" else sent(kind, size, 2)
        first = plan_layout(small_model(family), 2, layout, **sizes).ranks[0]
        planned = {kind: sum(both.values()) for kind, both in first.communication.items()}
        assert planned == real, layout
