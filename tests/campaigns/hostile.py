"""Hostile requests against a server of tiny ranks: it answers honest ones as before.

Run as ``python -m tests.campaigns.hostile --count 2000 --seed 0``.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import torch

from ptune_scale.parallel import Degrees, Mesh, World, parallelize
from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.task.objective import cross_entropy
from tests.conftest import WORDS
from tests.serve.conftest import good_bodies, prompts, rows
from tests.serve.hostile import attack
from tests.serving import free_port, wait_until_ready
from tests.tiny import byte_pairs, save_llama

ROOT = Path(__file__).resolve().parents[2]
_EVERY = 100
_MOST_GROWTH = 1.5
"""Of the server's memory, from the first hundred requests to the last."""


def campaign(count: int, seed: int, ranks: int) -> list[str]:
    """What went wrong; nothing, if all is well."""
    with tempfile.TemporaryDirectory() as scratch:
        model = save_llama(byte_pairs(" ".join(WORDS)), Path(scratch))
        port = free_port()
        flags = ["--model", str(model), "--dtype", "float32", "--port", str(port)]
        if ranks > 1:
            flags += ["--num_gpus", str(ranks), "--tensor_parallel", str(ranks)]
        server = subprocess.Popen(
            [sys.executable, "-m", "ptune_scale", "serve", *flags],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url)
            return _attack(url, psutil.Process(server.pid), count, random.Random(seed))
        finally:
            server.terminate()
            server.wait(60)


def _attack(url: str, server: psutil.Process, count: int, chance: random.Random) -> list[str]:
    backbone = open_served(url)
    function = parallelize(backbone, Mesh.build(World(), Degrees()))
    bodies = good_bodies(url)
    expected = function.loss_and_gradient(rows(1, 9), prompts(), cross_entropy)
    statuses: Counter[int] = Counter()
    wrong, memory = [], []
    for number in range(1, count + 1):
        found = attack(url, bodies, chance)
        statuses[found.status] += 1
        if found.status >= 500:
            wrong.append(f"{found}")
        if number % _EVERY == 0:
            again = function.loss_and_gradient(rows(1, 9), prompts(), cross_entropy)
            if not all(map(torch.equal, again, expected)):
                wrong.append(f"after {number}: an honest request is answered otherwise")
            memory.append(_memory(server))
            print(f"{number}: {dict(sorted(statuses.items()))}, {memory[-1] >> 20} MiB", flush=True)
    if memory[-1] > _MOST_GROWTH * memory[0]:
        wrong.append(f"memory grew from {memory[0]} to {memory[-1]} bytes")
    return wrong


def _memory(server: psutil.Process) -> int:
    family = [server, *server.children(recursive=True)]
    return sum(process.memory_info().rss for process in family)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=2)
    asked = parser.parse_args()
    wrong = campaign(asked.count, asked.seed, asked.ranks)
    print("\n".join(wrong) or "all refused, answered or closed; nothing else has changed")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
