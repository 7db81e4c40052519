"""From a command line to exactly the ranks that were asked for.

``deepspeed launchers/lama.py --num_gpus 2`` hands the flag to the script and, on a host without
GPUs, starts a single rank. So the script makes the world the size that was asked for: on one node,
the first rank becomes a launcher of so many (same process, same pid; see ``agent``) and surplus
ranks leave.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ptune_scale.errors import UserError

AGENT = Path(__file__).with_name("agent.py")
"""The script that a process becomes to start ranks."""

OF_AGENT = "PTUNE_SCALE_AGENT"
"""The variable by which a rank knows the process id of the agent that started it."""

RANK_BYTES = 200 * 2**20
"""What a rank on the CPU takes before it has a model: libraries and their threads."""
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


def world_size() -> int:
    """Number of ranks that the launcher started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def world_is_given() -> bool:
    """Whether the number of ranks is the launcher's, and not ours to change."""
    several_nodes = int(os.environ.get("CROSS_SIZE", 1)) > 1
    return several_nodes or "TORCHELASTIC_RUN_ID" in os.environ or OF_AGENT in os.environ


def local_size() -> int:
    """Number of ranks that the launcher started on this machine."""
    size = os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", world_size()))
    return int(size)


def local_rank() -> int:
    """This process's number among those."""
    return int(os.environ.get("LOCAL_RANK", 0))


def host_memory() -> int:
    """Bytes of this machine's memory, or of the part of it that this process may use."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdecimal() else memory


def check_ranks(num_gpus: int) -> None:
    """Refuse ranks that this machine has no memory for, before anything is read for them.

    Raises:
        UserError: they would not fit even without a model.
    """
    memory = host_memory()
    most = max(1, memory // RANK_BYTES)
    if num_gpus > most:
        raise UserError(
            f"--num_gpus {num_gpus}: a rank takes {RANK_BYTES // 2**20} MB without any model, and "
            f"this machine has {memory / 2**30:.0f} GB: {most} ranks at most"
        )


def needs_relaunch(num_gpus: int) -> bool:
    """Whether this process is not yet one of ``num_gpus`` ranks.

    Args:
        num_gpus: ranks asked for; 0 takes the world as it was launched.

    Raises:
        UserError: the launcher's world is another and is not ours to change: torchrun, or several
            nodes.
    """
    size = world_size()
    if not num_gpus or num_gpus == size:
        return False
    if "TORCHELASTIC_RUN_ID" in os.environ or OF_AGENT in os.environ:
        raise UserError(
            f"--num_gpus {num_gpus} but torchrun started {size} ranks; "
            f"leave --num_gpus out or run torchrun --nproc_per_node {num_gpus}"
        )
    if int(os.environ.get("CROSS_SIZE", 1)) > 1:
        raise UserError(
            f"--num_gpus {num_gpus} but the launcher started {size} ranks on several nodes; "
            "leave --num_gpus out and set the slots of each node in the hostfile"
        )
    return True


@dataclass(frozen=True)
class Ending:
    """What the agent has to know to say how to go on, where no rank lives to say it.

    Attributes:
        called: the command as its user called it.
        output: a directory to go on with, once a run was begun there; "" for none.
        otherwise: what to do where none was.
    """

    called: str
    output: str
    otherwise: str


def relaunch(
    num_gpus: int, script: Sequence[str], arguments: Sequence[str], ending: Ending
) -> NoReturn:
    """Become the agent of ``num_gpus`` ranks of a script; surplus ranks of this launch leave.

    Args:
        script: its path, or "-m" and the name of a module.
        arguments: its command line; what a launcher has put there to tell ranks apart is left out.

    Example:
        >>> relaunch(2, ["-m", "ptune_scale"], ["tune", "--num_gpus", "2"], ending)
    """
    if not is_first_rank():
        sys.exit(0)
    environment = {k: v for k, v in os.environ.items() if k not in _RANK_VARIABLES}
    cores = len(os.sched_getaffinity(0))
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // num_gpus)))
    sys.stdout.flush()
    # The agent listens to them as soon as it is there.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    command = [*agent_command(num_gpus, ending), *script, *without_local_rank(arguments)]
    os.execve(sys.executable, command, environment)


def agent_command(num_gpus: int, ending: Ending) -> list[str]:
    """The command of an agent; a script and its arguments go behind it."""
    return [
        sys.executable,
        "-P",  # else modules beside the script could be taken for others of their names
        str(AGENT),
        f"--ranks={num_gpus}",
        f"--called={ending.called}",
        f"--output={ending.output}",
        f"--otherwise={ending.otherwise}",
        "--",
    ]


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
