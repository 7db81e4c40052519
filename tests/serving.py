"""A server in a thread of the tests' process, with its real front, queue and ranks."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from ptune_scale.parallel import Mesh, StopSignal, World
from ptune_scale.parallel.remote.description import Description
from ptune_scale.run.site import Site
from ptune_scale.serve.access import Access
from ptune_scale.serve.check import check
from ptune_scale.serve.config import ServeConfig
from ptune_scale.serve.door import Door
from ptune_scale.serve.front import Front
from ptune_scale.serve.metrics import Metrics
from ptune_scale.serve.queue import Queue
from ptune_scale.serve.run import run


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until_ready(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200:
                return
        assert time.monotonic() < deadline, f"{url} is not ready"
        time.sleep(0.05)


def post(url: str, path: str, body: bytes, **headers: str) -> httpx2.Response:
    """The reply to a body."""
    return httpx2.post(url + path, content=body, headers=headers, timeout=60, trust_env=False)


def wait_for_metric(url: str, line: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while line not in httpx2.get(f"{url}/metrics", trust_env=False).text.splitlines():
        assert time.monotonic() < deadline, f"{url} does not say {line}"
        time.sleep(0.05)


@contextlib.contextmanager
def served(model: Path, *, port: int = 0, **flags: Any) -> Iterator[str]:
    """The address of a server of a model, until the end of the context."""
    port = port or free_port()
    known = {"model": str(model), "dtype": "float32", "self_check": "off", "speed": "plain"}
    known |= {"port": port, **flags}
    checked = check(ServeConfig.from_flags(known))
    world = World()
    stop = StopSignal(world)
    site = Site(Mesh.build(world, checked.degrees), stop, Path())
    thread = threading.Thread(target=run, args=(checked, site))
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url)
        yield url
    finally:
        stop._note(signal.SIGTERM, None)
        thread.join(60)
        assert not thread.is_alive()


@contextlib.contextmanager
def unanswered(model: Path, **flags: Any) -> Iterator[tuple[str, Queue]]:
    """The address of a front whose requests wait: there are no ranks."""
    checked = check(ServeConfig.from_flags({"model": str(model), "dtype": "float32", **flags}))
    said = Description.of(checked.backbone, "single", True, checked.limits)
    queue = Queue(64, 64, 16384, 2048, 0.0)
    capacity = checked.config.capacity
    metrics = Metrics(lambda: len(queue))
    front = Front(said, checked.backbone, Access(()), capacity, queue, metrics)
    with contextlib.closing(Door(front.app, "127.0.0.1", 0, 64)) as door:
        door.open()
        url = f"http://127.0.0.1:{door.port}"
        wait_until_ready(url)
        yield url, queue
