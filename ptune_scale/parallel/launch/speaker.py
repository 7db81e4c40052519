"""Who tells the user why a job ended: on each node one process does, whoever has a reason first.

While a certain file is there nobody has spoken, and whoever removes it speaks. So a rank that was
killed silences no other. Where ranks know of no such file, the first one of the node speaks.
"""

import atexit
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ptune_scale.parallel.launch.relaunch import OF_AGENT

UNSAID = "PTUNE_SCALE_UNSAID"
"""The variable that names the file; ``agent`` sets it too."""

# Longer than ranks of a node are apart in what they do before they are connected.
_FOR_THE_SPEAKER_SECONDS = 20.0
# Who has removed the file speaks before another thread ends the process.
_speaking = threading.Lock()


def say(line: str, *, knows_alone: bool = False) -> None:
    """Print a line on standard error, unless somebody on this node has said why the job ended.

    What is wrong may be wrong on one node only, such as a missing file, and nodes may have consoles
    of their own.

    Args:
        knows_alone: perhaps no other rank knows, so that it must be said if no other says it.
    """
    with _speaking:
        if UNSAID in os.environ:
            if not _claim(Path(os.environ[UNSAID])):
                return
        elif _local_rank():
            if not knows_alone:
                return
            wait_for_the_speaker()
        with contextlib.suppress(OSError):
            if threading.current_thread() is threading.main_thread():
                print(line, file=sys.stderr, flush=True)
            else:  # the main thread may be at it, and may never come to an end
                os.write(2, f"{line}\n".encode())


def wait_for_the_speaker() -> None:
    """Give the node's first rank the time to say what is wrong here too.

    Launchers end all ranks once one has failed: left at once, this rank would have the speaking one
    killed before it has spoken. When that one has, the launcher ends this one here. Where that does
    not happen, the speaking rank does not know, and the caller has to tell.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    time.sleep(_FOR_THE_SPEAKER_SECONDS)


def share(rank: int, gather: Callable[[str], list[str]]) -> None:
    """Let the ranks of each node know of one file, where their launcher has made none.

    Args:
        rank: of this process.
        gather: brings together what each rank has.
    """
    if UNSAID in os.environ:
        return
    made = ""
    if not _local_rank():
        with contextlib.suppress(OSError):
            descriptor, made = tempfile.mkstemp(prefix="ptune_scale-unsaid-")
            os.close(descriptor)
    # Ranks of a node follow each other.
    if path := gather(made)[rank - _local_rank()]:
        os.environ[UNSAID] = path
        atexit.register(be_silent)


def be_silent() -> None:
    """Nothing is to be said by anybody: all went well, or an error is there to be read.

    A file of the agent is left to it, for it knows whether all went well.
    """
    if UNSAID in os.environ and OF_AGENT not in os.environ:
        _claim(Path(os.environ[UNSAID]))


def _claim(unsaid: Path) -> bool:
    try:
        unsaid.unlink()
    except FileNotFoundError:
        return False
    except OSError:
        return _local_rank() == 0
    return True


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", 0))
