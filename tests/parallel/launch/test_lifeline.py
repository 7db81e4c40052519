"""Which processes above a rank are launchers, by their command lines."""

import pytest

from ptune_scale.parallel.launch.lifeline import is_launcher
from ptune_scale.parallel.launch.relaunch import AGENT


@pytest.mark.parametrize(
    "command",
    [
        ["/venv/bin/python", "/venv/bin/deepspeed", "launchers/lama.py"],
        ["/venv/bin/python3.11", "-u", "-m", "deepspeed.launcher.launch", "--world_info=x"],
        ["python", "-X", "dev", "-m", "torch.distributed.run", "lama.py"],
        ["/venv/bin/python", "/venv/bin/torchrun", "--nproc_per_node", "2", "lama.py"],
        ["torchrun", "lama.py"],
        ["/venv/bin/python", "-P", str(AGENT), "--ranks=2", "lama.py"],
    ],
)
def test_launchers_are_recognized(command):
    assert is_launcher(command)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["python"],
        ["bash", "-c", "deepspeed launchers/lama.py"],
        ["vim", "deepspeed.py"],
        ["tmux", "new", "-s", "torchrun"],
        ["/home/me/deepspeed/venv/bin/python", "train.py", "deepspeed"],
        ["/venv/bin/python", "-m", "pytest", "torch.distributed.run"],
        ["python", "-c", "import torch.distributed.run", "torchrun"],
        ["python", "/somewhere/else/agent.py"],
    ],
)
def test_what_only_names_a_launcher_is_none(command):
    assert not is_launcher(command)
