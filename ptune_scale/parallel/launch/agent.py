"""torchrun for ranks that say themselves what is wrong; ``launch.relaunch`` becomes this script.

torchrun reports any rank that fails by a traceback of its own and ends with status 1. Where a rank
has printed its line and left with a status that means so, that buries the line, and the status is
lost. Ranks that crash or are killed are reported as torchrun does. (Under a torchrun that the user
started, its report follows our line; nothing that a rank does can prevent it.)

Nothing of this package is imported: the agent stays small beside its ranks.
"""

import logging
import os
import signal
import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

_SAID = (2, 128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit statuses of ranks that have told their user why they ended."""


def main(arguments: list[str]) -> int:
    """Run torchrun; returns the exit status of the rank that failed first, or 128 + a signal."""
    if "LOGLEVEL" not in os.environ:
        # That ranks are being closed is no news, and the report of a crash has all the rest.
        logging.disable(logging.ERROR)
    try:
        torchrun(arguments)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        statuses = [failure.exitcode for failure in failed.failures.values()]
        said = [status for status in statuses if status in _SAID]
        # Once a rank has failed, torchrun ends the others by SIGTERM and counts them as well.
        if said and all(status in (*_SAID, -signal.SIGTERM) for status in statuses):
            return said[0]
        print(failed, file=sys.stderr, flush=True)
        # A rank that was killed is why others lost contact and failed in the same moment.
        killed = [status for status in statuses if status < 0 and status != -signal.SIGTERM]
        status = killed[0] if killed else failed.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
