"""From a command line to exactly the ranks that were asked for.

``deepspeed launchers/lama.py --num_gpus 2`` hands the flag to the script and, on a host without
GPUs, starts a single rank. So the script makes the world the size that was asked for: on one node,
the first rank becomes a torchrun of the right size (same process, same pid; see ``agent``) and
surplus ranks leave.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ptune_scale.errors import UserError

AGENT = Path(__file__).with_name("agent.py")
"""The script that a process becomes to start ranks."""

_RELAUNCHED = "PTUNE_SCALE_RELAUNCHED"
# Longer than ranks of a node are apart in what they do before they are connected.
_FOR_THE_SPEAKER_SECONDS = 10.0
_RANK_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_SIZE",
    "LOCAL_WORLD_SIZE",
    "CROSS_RANK",
    "CROSS_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)


def is_first_rank() -> bool:
    """Whether this process speaks for the job, as far as the launcher's environment tells."""
    return int(os.environ.get("RANK", 0)) == 0


def speaks() -> bool:
    """Whether this process tells its user what is wrong: on each node one does.

    What is wrong may be wrong on one node only, such as a missing file, and nodes may have consoles
    of their own.
    """
    return int(os.environ.get("LOCAL_RANK", 0)) == 0


def wait_for_the_speaker() -> None:
    """Give the node's speaking rank the time to say what is wrong here too.

    Launchers end all ranks once one has failed: left at once, this rank would have the speaking one
    killed before it has spoken. When that one has, the launcher ends this one here. Where that does
    not happen, the speaking rank does not know, and the caller has to tell.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    time.sleep(_FOR_THE_SPEAKER_SECONDS)


def world_size() -> int:
    """Number of ranks that the launcher started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def world_is_given() -> bool:
    """Whether the number of ranks is the launcher's, and not ours to change."""
    several_nodes = int(os.environ.get("CROSS_SIZE", 1)) > 1
    return several_nodes or "TORCHELASTIC_RUN_ID" in os.environ or _RELAUNCHED in os.environ


def needs_relaunch(num_gpus: int) -> bool:
    """Whether this process is not yet one of ``num_gpus`` ranks.

    Args:
        num_gpus: ranks asked for; 0 takes the world as it was launched.

    Raises:
        UserError: the launcher's world is another and is not ours to change: torchrun, several
            nodes, or more ranks than this machine has GPUs.
    """
    size = world_size()
    if not num_gpus or num_gpus == size:
        return False
    if "TORCHELASTIC_RUN_ID" in os.environ or _RELAUNCHED in os.environ:
        raise UserError(
            f"--num_gpus {num_gpus} but torchrun started {size} ranks; "
            f"leave --num_gpus out or run torchrun --nproc_per_node {num_gpus}"
        )
    if int(os.environ.get("CROSS_SIZE", 1)) > 1:
        raise UserError(
            f"--num_gpus {num_gpus} but the launcher started {size} ranks on several nodes; "
            "leave --num_gpus out and set the slots of each node in the hostfile"
        )
    import torch  # a second, which --help need not wait for

    if torch.cuda.is_available() and num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num_gpus {num_gpus} but this process sees {torch.cuda.device_count()} GPUs"
        )
    return True


def relaunch(num_gpus: int, script: Sequence[str], arguments: Sequence[str]) -> NoReturn:
    """Become a torchrun of ``num_gpus`` ranks of a script; surplus ranks of this launch leave.

    Args:
        script: its path, or "-m" and the name of a module.
        arguments: its command line; what a launcher has put there to tell ranks apart is left out.

    Example:
        >>> relaunch(2, ["-m", "ptune_scale"], ["tune", "--num_gpus", "2"])
    """
    if not is_first_rank():
        sys.exit(0)
    environment = {k: v for k, v in os.environ.items() if k not in _RANK_VARIABLES}
    environment[_RELAUNCHED] = "1"
    cores = len(os.sched_getaffinity(0))
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // num_gpus)))
    sys.stdout.flush()
    os.execve(
        sys.executable,
        [
            sys.executable,
            "-P",  # else modules beside the script could be taken for others of their names
            str(AGENT),
            "--standalone",
            f"--nproc_per_node={num_gpus}",
            *script,
            *without_local_rank(arguments),
        ],
        environment,
    )


def without_local_rank(arguments: Sequence[str]) -> list[str]:
    """A command line without the rank that launchers write into it, as one word or as two."""
    kept = []
    rest = iter(arguments)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name not in ("--local_rank", "--local-rank"):
            kept.append(word)
        elif not equals:
            next(rest, None)
    return kept
