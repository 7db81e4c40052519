"""Where ranks find each other: on one machine nowhere that another one could reach.

PyTorch's store listens on all interfaces and asks for no password. That of ranks which are all on
this machine is given a socket of the loopback interface instead, and their connections stay there
too. Ranks of several nodes need the network that they share; see docs/layouts.md.
"""

import os
import socket
import sys
from datetime import timedelta

import torch.distributed as dist

LISTENER = "PTUNE_SCALE_LISTENER"
"""The variable in which the agent tells the first rank the socket that it hands to it."""

_HOME = "127.0.0.1"


def stay_on_this_machine(size: int) -> bool:
    """Keep connections of ranks on the loopback interface, if all of them are here.

    Returns:
        whether they are.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", 0))) == size
    if here and sys.platform == "linux":
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    return here


def own_store(rank: int, size: int, patience: timedelta) -> dist.Store | None:
    """The store of ranks that are all on this machine; None where the launcher's has to do.

    Call it on all ranks.
    """
    port = int(os.environ.get("MASTER_PORT", 0))
    is_launcher_s = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not stay_on_this_machine(size) or is_launcher_s or not port:
        return None
    listener = _listener(port) if rank == 0 else None
    return dist.TCPStore(
        _HOME,
        port,
        size,
        is_master=rank == 0,
        timeout=patience,
        wait_for_workers=False,
        master_listen_fd=listener,
    )


def _listener(port: int) -> int:
    """A listening socket, which the store then owns."""
    if LISTENER in os.environ:
        return int(os.environ.pop(LISTENER))
    return socket.create_server((_HOME, port)).detach()
