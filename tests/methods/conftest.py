"""Jobs on tiny models, put together in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.assemble import build_job
from ptune_scale.check import check
from ptune_scale.config import LamaConfig
from ptune_scale.job import Job
from ptune_scale.parallel import Degrees, Mesh, StopSignal, World


@pytest.fixture
def job_of(tiny_facts: Path, tmp_path: Path) -> Callable[..., Job]:
    """Build a job for a model directory, with flags."""

    def build(model: Path, **more: Any) -> Job:
        flags = {
            "model": str(model),
            "data_dir": str(tiny_facts),
            "dtype": "float32",
            "candidates": "full_vocab",
            "dev_facts": 1,
            "batch_size": 8,
            "max_steps": 6,
            "lr": 1e-2,
            "template": "[P]*2 [X] [Y]",
            **more,
        }
        config = LamaConfig.from_flags(flags)
        facts = check(config)
        world = World()
        mesh = Mesh.build(world, Degrees())
        return build_job(config, facts, flags, mesh, StopSignal(world), tmp_path / "out")

    return build
