"""One job on two nodes: the same results, one clear line when a node is lost, and going on after.

The nodes are two launchers on this machine; in the last test each has a network namespace and an
address of its own.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import torch

from ptune_scale.train import checkpoint
from ptune_scale.tune.launcher import main
from tests.forked import fork

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = str(ROOT / "launchers" / "tune.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class Nodes:
    """The launchers of one job, one a node, and what each of them printed."""

    def __init__(self, commands: Sequence[list[str]], logs: Path) -> None:
        logs.mkdir()
        self.logs = [logs / f"node{number}" for number in range(len(commands))]
        self.launchers = []
        for command, log in zip(commands, self.logs, strict=True):
            with log.open("w") as output:
                self.launchers.append(
                    psutil.Popen(command, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT)
                )
        self._seen: list[psutil.Process] = []

    def wait(self, timeout: float) -> list[int]:
        """Exit statuses, once all launchers are done."""
        deadline = time.monotonic() + timeout
        return [p.wait(max(0.1, deadline - time.monotonic())) for p in self.launchers]

    def wait_for(self, directory: Path, pattern: str) -> None:
        """Until the running job has written something."""
        deadline = time.monotonic() + 200
        while not list(directory.glob(pattern)):
            assert all(p.poll() is None for p in self.launchers), self.text
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def below(self, number: int) -> list[psutil.Process]:
        """What the launcher of a node has started."""
        found = self.launchers[number].children(recursive=True)
        self._seen += found
        return found

    @property
    def text(self) -> str:
        return "\n".join(log.read_text() for log in self.logs)

    def end(self) -> None:
        """Kill what is left."""
        for number, launcher in enumerate(self.launchers):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.below(number)
            for process in [launcher, *self._seen]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            launcher.wait(10)


@contextlib.contextmanager
def running(commands: Sequence[list[str]], logs: Path) -> Iterator[Nodes]:
    job = Nodes(commands, logs)
    try:
        yield job
    finally:
        job.end()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def torchrun(host: str = "127.0.0.1") -> list[list[str]]:
    """The command of each node."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"]
    endpoint = f"--rdzv_endpoint={host}:{free_port()}"
    return [[*command, "--rdzv_backend=c10d", endpoint, "--rdzv_id=job"]] * 2


def deepspeed(hostfile: Path) -> list[list[str]]:
    hostfile.write_text("node0 slots=1\nnode1 slots=1\n")
    command = [sys.executable, "-m", "deepspeed.launcher.runner", f"--hostfile={hostfile}"]
    where = ["--no_ssh", "--master_addr=127.0.0.1", f"--master_port={free_port()}"]
    return [[*command, *where, f"--node_rank={number}"] for number in range(2)]


def with_script(commands: list[list[str]], *flags: str) -> list[list[str]]:
    return [[*command, LAUNCHER, *flags] for command in commands]


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


def assert_same_results(out: Path, alone: Path) -> None:
    found, expected = results(out), results(alone)
    torch.testing.assert_close(
        torch.tensor(found["methods"]["ptuning"]["training"]["losses"]),
        torch.tensor(expected["methods"]["ptuning"]["training"]["losses"]),
        atol=1e-4,
        rtol=1e-4,
    )
    assert (found["world_size"], expected["world_size"]) == (2, 1)
    # A second writer would have left an event file of its own.
    assert len(list((out / "tensorboard").iterdir())) == 1


def clear_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("tune.py: ")]


@pytest.fixture(scope="module")
def flags(job_flags: list[str]) -> list[str]:
    return [*job_flags, "--max_steps", "40"]


@pytest.fixture(scope="module")
def alone(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an uninterrupted run of one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    job = fork(out.parent / "log", main, [*flags, "--output_dir", str(out)])
    assert job.wait() == 0, job.said[-3000:]
    return out


@pytest.mark.parametrize(
    ("launcher", "degrees", "layout"),
    [
        pytest.param("torchrun", ["--zero_stage", "3"], "zero3", id="torchrun"),
        pytest.param("deepspeed", ["--tensor_parallel", "2"], "tp2", id="deepspeed, tensor"),
    ],
)
def test_two_nodes_train_like_one_process(launcher, degrees, layout, flags, alone, tmp_path):
    out = tmp_path / "out"
    commands = torchrun() if launcher == "torchrun" else deepspeed(tmp_path / "hosts")
    flags = [*flags, *degrees, "--output_dir", str(out)]
    with running(with_script(commands, *flags), tmp_path / "logs") as job:
        assert job.wait(300) == [0, 0], job.text
    assert results(out)["layout"] == layout
    assert_same_results(out, alone)


def test_job_of_a_killed_launcher_stops_on_both_nodes_and_saves(flags, tmp_path):
    out = tmp_path / "out"
    flags = [*flags, "--max_steps", "100000", "--checkpoint_every", "2", "--output_dir", str(out)]
    with running(with_script(torchrun(), *flags), tmp_path / "logs") as job:
        job.wait_for(out, "checkpoint/step-*")
        ranks = job.below(1)
        job.launchers[1].send_signal(signal.SIGKILL)
        assert all(status != 0 for status in job.wait(90))
        assert not psutil.wait_procs(ranks, timeout=30)[1]
        lines = clear_lines(job.text)
    assert lines
    assert all(f"stopped by SIGTERM; go on with --resume_from {out}" in line for line in lines)
    assert checkpoint.find(out).is_dir()


def test_lost_node_is_one_clear_line_and_the_job_goes_on(flags, alone, tmp_path):
    out = tmp_path / "out"
    flags = [*flags, "--pipeline_parallel", "2", "--checkpoint_every", "2"]
    flags += ["--output_dir", str(out)]
    with running(with_script(torchrun(), *flags), tmp_path / "logs") as job:
        job.wait_for(out, "checkpoint/step-*")
        for process in [job.launchers[0], *job.below(0)]:
            process.send_signal(signal.SIGKILL)
        assert job.wait(90)[1] > 0
        text = job.logs[1].read_text()
    [line] = clear_lines(text)
    assert "lost contact with another rank (" in line
    assert f"go on with --resume_from {out}" in line
    assert "ptune_scale/run/command.py" not in text, "the line stands in place of our traceback"
    assert not (out / "results.json").exists()

    shutil.rmtree(out / "tensorboard")
    again = with_script(torchrun(), "--resume_from", str(out))
    with running(again, tmp_path / "logs2") as job:
        assert job.wait(300) == [0, 0], job.text
    assert results(out)["layout"] == "pp2"
    assert_same_results(out, alone)


def test_what_is_wrong_on_the_second_node_only_is_said_there(tmp_path):
    second = {"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    flags = ["--task", str(tmp_path / "nothing.toml")]
    rank = fork(tmp_path / "log", main, flags, environment=second)
    assert rank.wait() == 2
    [line] = [text for text in rank.said.splitlines() if text.startswith("ptune tune: ")]
    assert "nothing.toml" in line


@pytest.fixture
def two_addresses() -> Iterator[list[tuple[str, str]]]:
    """Names and addresses of two network namespaces with a cable between them."""
    if shutil.which("ip") is None:
        pytest.skip("needs the ip command (Debian's iproute2)")
    names = [f"ptune-{os.getpid()}-{number}" for number in range(2)]
    addresses = ["10.213.77.1", "10.213.77.2"]

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no network namespaces here: ip {' '.join(words)}: {done.stderr.strip()}")

    try:
        for name in names:
            ip("netns", "add", name)
        ends = ["type", "veth", "peer", "name", "cable", "netns", names[1]]
        ip("link", "add", "cable", "netns", names[0], *ends)
        for name, address in zip(names, addresses, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(names, addresses, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_two_nodes_with_addresses_of_their_own(two_addresses, flags, alone, tmp_path):
    out = tmp_path / "out"
    commands = torchrun(two_addresses[0][1])
    for number, (name, address) in enumerate(two_addresses):
        inside = ["ip", "netns", "exec", name, "env", "GLOO_SOCKET_IFNAME=cable"]
        # The host name that both share means neither address, so each node is told its own.
        own = [f"--local_addr={address}", f"--rdzv_conf=is_host={int(number == 0)}"]
        commands[number] = [*inside, *commands[number], *own]
    flags = [*flags, "--output_dir", str(out)]
    with running(with_script(commands, *flags), tmp_path / "logs") as job:
        assert job.wait(300) == [0, 0], job.text
    assert_same_results(out, alone)
