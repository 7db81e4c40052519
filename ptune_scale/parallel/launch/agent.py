"""Starts the ranks of a job on this machine and ends with them; ``relaunch`` becomes this script.

Once a rank fails the others are ended, for they cannot go on without it. Signals are passed on.
Ranks say themselves why they end; where none could, because it was killed, the agent does.

Only the standard library is imported, and nothing of this package: the agent is there at once, and
stays small beside its ranks.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_SECONDS = 30.0


class Agent:
    """The ranks of one job.

    Args:
        count: how many.
        command: of each.
        unsaid: the file that whoever says why the job ended removes; "" for none.

    Attributes:
        stopped_by: number of the first signal; 0 for none.
        late: ranks that did not end when they had to, and were killed.
    """

    def __init__(self, count: int, command: Sequence[str], unsaid: str) -> None:
        self.count = count
        self.command = command
        self.unsaid = unsaid
        self.stopped_by = 0
        self.late: set[int] = set()
        self._has_to_end = False
        self._ranks: list[subprocess.Popen[bytes]] = []

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Send a signal to all ranks, which have to end by it."""
        self.stopped_by = self.stopped_by or number
        self._end(number)

    def run(self) -> list[int]:
        """Start the ranks; returns their statuses when all have ended, -N for signal N."""
        signal.signal(signal.SIGALRM, self._kill)
        self._start()
        while (statuses := [rank.poll() for rank in self._ranks]).count(None):
            if any(statuses) and not self._has_to_end:
                self._end(signal.SIGTERM)
            self._sleep()
        signal.setitimer(signal.ITIMER_REAL, 0)
        return [rank.wait() for rank in self._ranks]

    def _sleep(self) -> None:
        """Wait until a rank has ended, and leave its status to be read; signals are handled."""
        # A handler may have read the last one's status meanwhile.
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            # Where this is the first process of a container it inherits others' children.
            if ended and ended.si_pid not in {rank.pid for rank in self._ranks}:
                os.waitpid(ended.si_pid, 0)

    def _end(self, number: int) -> None:
        self._send(number)
        if not self._has_to_end:
            self._has_to_end = True
            signal.setitimer(signal.ITIMER_REAL, _GRACE_SECONDS)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        self.late |= {rank for rank, one in enumerate(self._ranks) if one.poll() is None}
        self._send(signal.SIGKILL)

    def _start(self) -> None:
        # Ranks meet at a port of the loopback interface, which the first of them is handed: no
        # other process can have taken it meanwhile, and no other machine can reach it.
        with socket.create_server(("127.0.0.1", 0), backlog=self.count) as listener:
            environment = {
                **os.environ,
                "PTUNE_SCALE_AGENT": str(os.getpid()),
                "WORLD_SIZE": str(self.count),
                "LOCAL_WORLD_SIZE": str(self.count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(listener.getsockname()[1]),
            }
            if self.unsaid:
                environment["PTUNE_SCALE_UNSAID"] = self.unsaid
            for rank in range(self.count):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                handed = (listener.fileno(),) if rank == 0 else ()
                if handed:
                    own["PTUNE_SCALE_LISTENER"] = str(listener.fileno())
                # Until a rank can say that it was interrupted, an interrupt waits.
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
                self._ranks.append(
                    subprocess.Popen(self.command, env=environment | own, pass_fds=handed)
                )
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                if self.stopped_by:
                    self._send(self.stopped_by)
                    return

    def _send(self, number: int) -> None:
        for rank in self._ranks:
            if rank.poll() is None:
                rank.send_signal(number)


def status_of(statuses: Sequence[int], stopped_by: int) -> int:
    """The exit status of a job, given those of its ranks.

    A rank that was killed is why others failed, in the same moment or before it was seen.
    """
    killed = [status for status in statuses if status < 0 and status != -signal.SIGTERM]
    failed = [*killed, *(status for status in statuses if status > 0), *filter(None, statuses)]
    if not failed:
        return 0
    if stopped_by and not killed:
        return 128 + stopped_by
    return failed[0] if failed[0] > 0 else 128 - failed[0]


def reasons(statuses: Sequence[int], stopped_by: int, late: Collection[int]) -> Iterator[str]:
    """Why a job ended, as far as its agent can tell: a line each."""
    for rank, status in enumerate(statuses):
        if rank in late:
            seconds = f"{_GRACE_SECONDS:.0f} s"
            yield f"error: rank {rank} did not end within {seconds} and was killed by the launcher"
        elif status < 0 and -status not in (signal.SIGTERM, stopped_by):
            name = signal.Signals(-status).name
            memory = ", as the system does where memory runs out" if status == -9 else ""
            yield f"error: rank {rank} was killed by {name}{memory}"
    if stopped_by:
        yield f"stopped by {signal.Signals(stopped_by).name}"
    for rank, status in enumerate(statuses):
        if status > 0:
            yield f"error: rank {rank} ended with status {status}"


def main(arguments: Sequence[str]) -> int:
    """Run a job; returns its exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--called", required=True, help="the command, as lines begin with it")
    parser.add_argument("--output", default="", help="a directory to go on with, once it has a run")
    parser.add_argument("--otherwise", default="", help="what to do where it has none")
    parser.add_argument("command", nargs="+", help="what ranks run, behind --")
    given = parser.parse_args(arguments)
    unsaid = ""
    with contextlib.suppress(OSError):
        descriptor, unsaid = tempfile.mkstemp(prefix="ptune_scale-unsaid-")
        os.close(descriptor)
    agent = Agent(given.ranks, [sys.executable, "-u", *given.command], unsaid)
    for number in _SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, agent.pass_on)
    # Whoever became this script has held them back.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        statuses = agent.run()
    except OSError as error:
        agent.pass_on(signal.SIGKILL, None)
        statuses, said = [1], [f"error: ranks cannot be started: {error.strerror or error}"]
    else:
        said = list(reasons(statuses, agent.stopped_by, agent.late))
    status = status_of(statuses, agent.stopped_by)
    begun = given.output and Path(given.output, "run.json").is_file()
    advice = f"go on with --resume_from {given.output}" if begun else given.otherwise
    is_unsaid = bool(unsaid)
    try:
        if unsaid:
            os.unlink(unsaid)
    except OSError:
        is_unsaid = False
    if status and is_unsaid and said:
        print(f"{given.called}: {said[0]}; {advice}", file=sys.stderr, flush=True)
    else:
        # That a rank was killed no rank could say.
        for line in said:
            if "was killed by" in line:
                print(f"{given.called}: {line}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
