"""Servers as processes: their ranks, their end, and jobs that outlive them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import torch
from safetensors.torch import load_file

from ptune_scale.lama.launcher import main
from ptune_scale.parallel.remote.client import NoServer
from ptune_scale.parallel.remote.request import ModelRequest
from ptune_scale.serve.together import compute
from ptune_scale.train import checkpoint
from tests.serve.conftest import everything, prompts, rows
from tests.serving import free_port, served, wait_for_metric, wait_until_ready

ROOT = Path(__file__).resolve().parents[2]
STEPS = 120

Process = subprocess.Popen


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start a command; what still runs at the end is killed."""
    running: list[Process] = []

    def run(command: str, *flags: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-m", "ptune_scale", command, *flags],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def serve(start, tiny_llama: Path) -> Callable[..., Process]:
    """Start a server at a port."""

    def run(port: int, *flags: str) -> Process:
        known = ("--model", str(tiny_llama), "--dtype", "float32", "--self_check", "off")
        return start("serve", *known, "--port", str(port), *flags)

    return run


def found_by(function, request: ModelRequest):
    return compute(function, [request])[0]


@pytest.mark.parametrize("layout", [("--tensor_parallel", "2"), ("--pipeline_parallel", "2")])
def test_ranks_behind_one_address_find_what_one_process_does_and_finish_what_they_have(
    layout: tuple[str, str], serve, local, remote, tiny_llama: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = serve(port, "--num_gpus", "2", "--patience_ms", "5000", *layout)
    wait_until_ready(url)
    here, there = local(tiny_llama), remote(url)
    for request in everything(here.engine.lm.model.config.vocab_size):
        found, expected = found_by(there, request), found_by(here, request)
        if request.kind == "generate":
            assert [one.tokens for one in found] == [one.tokens for one in expected]
        else:
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    late, hasty, last = remote(url), remote(url, patience=1.0), []
    thread = threading.Thread(
        target=lambda: last.append(late.loss_and_gradient(rows(1, 9), prompts()))
    )
    thread.start()
    wait_for_metric(url, "ptune_waiting_requests 1.0")  # it waits for the other by now
    server.send_signal(signal.SIGTERM)
    thread.join(60)
    assert len(last) == 1
    said = server.communicate(timeout=60)[0]
    assert server.returncode == 0, said
    assert "ended: what was asked was answered" in said
    with pytest.raises(NoServer, match=f"no server answers .{url}: .*refused"):
        hasty.loss_and_gradient(rows(1, 9), prompts())


@pytest.fixture
def flags(tiny_facts: Path) -> list[str]:
    """Of a job that takes a while."""
    return [
        *("--data_dir", str(tiny_facts), "--method", "ptuning", "--candidates", "full_vocab"),
        *("--max_steps", str(STEPS), "--lr", "1e-3", "--batch_size", "8", "--dev_facts", "1"),
        *("--eval_every", "40", "--patience", "0", "--checkpoint_every", "10"),
    ]


def wait_for_step(output: Path, step: int) -> None:
    deadline = time.monotonic() + 200
    while not any(
        checkpoint.read_meta(path)["step"] >= step
        for path in checkpoint.checkpoints(output / "checkpoint")
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def prompt_of(output: Path) -> torch.Tensor:
    return load_file(output / "prompt" / "prompt.safetensors")["prompts"]


def losses_of(output: Path) -> list[float]:
    return json.loads((output / "results.json").read_text())["training"]["losses"]


def test_jobs_outlive_their_servers(
    serve, start, flags: list[str], tiny_llama: Path, tmp_path: Path
) -> None:
    seeds = ["34", "35", "36"]  # the first job runs here, the others as processes
    whole, cut = ([tmp_path / kind / seed for seed in seeds] for kind in ("whole", "cut"))
    # Who shares a pass changes rounding, which large steps magnify.
    jobs = [[*flags, "--lr", "1e-4", "--seed", seed] for seed in seeds]
    ports = [free_port(), free_port()]
    servers = [serve(port) for port in ports]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    for job, out in zip(jobs, whole, strict=True):
        local = ["--model", str(tiny_llama), "--dtype", "float32", "--output_dir", str(out)]
        assert main([*job, *local]) == 0
    for url in urls:
        wait_until_ready(url)
    first = os.getpid() % 2  # the one that this process asks first
    remote = [
        [*job, "--backbone", ",".join(urls), "--output_dir", str(out)]
        for job, out in zip(jobs, cut, strict=True)
    ]
    others = []
    for job, out in zip(remote[1:], cut[1:], strict=True):
        others.append(start("lama", *job))
        wait_for_step(out, 10)
        others[-1].send_signal(signal.SIGSTOP)  # in mid-run, until the others are
        assert not (out / "results.json").exists()

    def strike() -> None:
        wait_for_step(cut[0], 10)
        servers[first].kill()
        servers[first].wait()
        for other in others:
            other.send_signal(signal.SIGCONT)
        wait_for_step(cut[0], 30)
        servers[1 - first].send_signal(signal.SIGSTOP)  # the jobs wait for it
        try:
            serve(ports[first])
            wait_until_ready(urls[first])
        finally:
            servers[1 - first].kill()

    with ThreadPoolExecutor(1) as threads:
        struck = threads.submit(strike)
        assert main(remote[0]) == 0
        struck.result(0)
    for other in others:
        said = other.communicate(timeout=100)[0]
        assert other.returncode == 0, said[-3000:]
    text = httpx2.get(f"{urls[first]}/metrics", trust_env=False).text
    assert 'ptune_requests_total{path="/v1/loss",status="200"}' in text  # after its restart
    for out, undisturbed in zip(cut, whole, strict=True):
        assert losses_of(out) == pytest.approx(losses_of(undisturbed), abs=1e-5)
        assert len(losses_of(out)) == STEPS
        torch.testing.assert_close(prompt_of(out), prompt_of(undisturbed), atol=1e-5, rtol=0)


def test_without_any_server_a_job_ends_in_one_line_and_can_be_resumed(
    start, flags: list[str], tiny_llama: Path, tmp_path: Path
) -> None:
    out, port = tmp_path / "out", free_port()
    with served(tiny_llama, port=port) as url:
        to = ["--backbone", url, "--backbone_patience", "1", "--output_dir", str(out)]
        job = start("lama", *flags, *to)
        wait_for_step(out, 10)
    said = job.communicate(timeout=100)[0]
    assert job.returncode == 1
    [line] = [line for line in said.splitlines() if line.startswith("ptune lama: error")]
    assert f"no server answers ({url}: " in line
    assert line.endswith(f"go on with --resume_from {out}")
    assert "Traceback" not in said
    [*_, newest] = checkpoint.checkpoints(out / "checkpoint")
    reached = checkpoint.read_meta(newest)["step"]
    assert 10 <= reached < STEPS
    with served(tiny_llama, port=port):
        assert main(["--resume_from", str(out)]) == 0
    assert len(losses_of(out)) == STEPS


def test_a_job_that_waits_for_a_server_can_be_stopped(
    start, flags: list[str], tiny_llama: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with served(tiny_llama) as url:
        job = start("lama", *flags, "--backbone", url, "--output_dir", str(out))
        wait_for_step(out, 10)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=60)[0]
    assert job.returncode == 128 + signal.SIGTERM, said[-3000:]
    assert f"stopped by SIGTERM; go on with --resume_from {out}" in said
