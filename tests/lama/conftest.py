"""Jobs on tiny models, put together in this process."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.lama import launcher as lama
from ptune_scale.lama.check import check
from ptune_scale.lama.config import LamaConfig
from ptune_scale.lama.job import LamaJob
from ptune_scale.parallel import Mesh, StopSignal, World
from ptune_scale.run.site import Site


@pytest.fixture
def job_of(tiny_facts: Path, tmp_path: Path) -> Callable[..., LamaJob]:
    """Build a job for a model directory, with flags."""

    def build(
        model: Path,
        *,
        stop: StopSignal | None = None,
        output: Path = tmp_path / "out",
        **more: Any,
    ) -> LamaJob:
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
        checked = check(LamaConfig.from_flags(flags))
        world = World()
        site = Site(Mesh.build(world, checked.degrees), stop or StopSignal(world), output)
        return LamaJob.of(checked, site)

    return build


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Command lines of one process, in this process: that saves their start."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()
    yield lambda *flags: lama.main(flags)
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)
