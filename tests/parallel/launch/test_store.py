"""Ranks of one machine meet where no other machine can reach them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.parallel.launch.relaunch import Ending, agent_command

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import os
import psutil
from ptune_scale.parallel import Degrees, Mesh, World

world = World.start()
Mesh.build(world, Degrees.resolve(2, tensor=2))
world.gather(None)
here = psutil.Process().net_connections("tcp")
world.on_main(lambda: None)
found = world.gather([c.laddr.ip for c in here if c.status == psutil.CONN_LISTEN])
if world.is_main:
    print(*(address for each in found for address in each), flush=True)
world.finish()
"""


@pytest.mark.parametrize("launcher", ["agent", "deepspeed"])
def test_nothing_of_a_job_on_one_machine_listens_to_another(launcher, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [*agent_command(2, Ending("tune.py", "", "")), str(script)]
    ranks = [(command, {})]
    if launcher == "deepspeed":  # what its launcher tells each rank, where there are GPUs for both
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "LOCAL_SIZE": "2", "CROSS_SIZE": "1", "CROSS_RANK": "0"}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, str(script)]
        ranks = [(command, {"RANK": r, "LOCAL_RANK": r, **shared}) for r in "01"]
    jobs = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        for command, environment in ranks
    ]
    text = "".join(job.communicate(timeout=200)[0] for job in jobs)
    assert [job.returncode for job in jobs] == [0] * len(jobs)
    assert set(text.split()) == {"127.0.0.1"}
    assert not list(scratch.iterdir())
