"""Damaged inputs and odd command lines: each is taken, or refused in one line.

Run as ``python -m tests.campaigns.inputs --count 2000 --seed 0``.
"""

import argparse
import contextlib
import faulthandler
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NoReturn

import psutil
from huggingface_hub import constants

from ptune_scale.errors import UserError
from tests.campaigns.commands import run_line
from tests.campaigns.damage import BYTES, UNREADABLE, json_value
from tests.campaigns.readers import Reader, readers

OUTCOMES = ("fine", "refused", "believed", "traceback", "hang")
_GOOD = ("fine", "refused")
_MEMORY_BYTES = 12 * 2**30


class Hang(BaseException):
    """A reader has not come back in time."""


@dataclass
class Findings:
    """What came of all trials.

    Attributes:
        counts: by reader and outcome.
        bad: of each trial that is neither fine nor refused in one line, what it was.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    def add(self, name: str, outcome: str, what: str) -> None:
        self.counts.setdefault(name, Counter())[outcome] += 1
        if outcome not in _GOOD:
            self.bad.append(f"{outcome}: {name}: {what}")

    def table(self) -> str:
        width = max(map(len, self.counts))
        heads = ("tried", *OUTCOMES)
        lines = [f"{'':{width}}  " + "  ".join(f"{head:>{max(8, len(head))}}" for head in heads)]
        total = sum(self.counts.values(), Counter())
        for name, count in [*self.counts.items(), ("all", total)]:
            numbers = (count.total(), *(count[each] for each in OUTCOMES))
            cells = (f"{n:>{max(8, len(h))}}" for n, h in zip(numbers, heads, strict=True))
            lines.append(f"{name:{width}}  " + "  ".join(cells))
        return "\n".join(lines)


def campaign(
    place: Path,
    count: int,
    seed: int,
    lines: int,
    only: str = "",
    *,
    loud: bool = False,
    patience: float = 30,
) -> Findings:
    """Try so many damaged inputs, readers in turn, and so many command lines.

    Args:
        place: an empty directory.
        only: a part of a reader's name.
        loud: print each outcome at once.
        patience: seconds after which an input hangs.
    """
    findings = Findings()
    # No name is looked for on the network.
    constants.HF_HUB_OFFLINE = True
    with _silence():
        known = readers(place)
    for reader in known:
        with _silence():
            outcome, what = _outcome(lambda r=reader: r.read(_copy(r, place)), patience)
        if outcome != "fine":
            raise AssertionError(f"the good input of {reader.name}: {outcome}: {what}")
    known = [r for r in known if only in r.name]
    for number in range(count if known else 0):
        reader = known[number % len(known)]
        outcome, what = _try(reader, place, Random(f"{seed} {number}"), patience)
        findings.add(reader.name, outcome, what)
        if loud:
            print(f"{number} {outcome}: {reader.name}: {what}")
    here = place / "here"
    for number in range(lines if only in "command lines" else 0):
        chance = Random(f"{seed} line {number}")
        run = run_line(place, chance)
        here.mkdir(exist_ok=True)
        # Some of these lines write where they are run.
        with _silence(), _within_memory(), contextlib.chdir(here):
            outcome, what = _outcome(run, patience)
        findings.add("command lines", outcome, f"line {number}: {what}")
        if loud:
            print(f"line {number} {outcome}: {what}")
    return findings


def _try(reader: Reader, place: Path, chance: Random, patience: float) -> tuple[str, str]:
    directory = _copy(reader, place)
    path = directory / chance.choice(reader.files)
    kind = chance.random()
    own = () if path.suffix == ".safetensors" and json_value in reader.own else reader.own
    if kind < 0.2:
        damage = chance.choice(list(UNREADABLE.values()))
    elif (
        kind < 0.5 or not reader.own or (path.suffix == ".safetensors" and json_value in reader.own)
    ):
        damage = chance.choice(list(BYTES.values()))
    else:
        damage = chance.choice(own)
    damage(path, chance)
    with _silence(), _within_memory():
        outcome, what = _outcome(lambda: reader.read(directory), patience)
    if outcome == "fine" and damage.__name__ in UNREADABLE:
        outcome = "believed"
    kept = "" if outcome in _GOOD else f" {_begin(path)}"
    return outcome, f"{path.name}, {damage.__name__}: {what}{kept}"


def _begin(path: Path) -> str:
    if not path.is_file() or path.suffix in (".pt", ".safetensors", ".parquet"):
        return ""
    return f"[{path.stat().st_size} bytes: {path.read_bytes()[:300]!r}]"


def _copy(reader: Reader, place: Path) -> Path:
    directory = place / "trial" / reader.root.name
    shutil.rmtree(place / "trial", ignore_errors=True)
    shutil.copytree(reader.root, directory)
    return directory


def _outcome(run: Callable[[], object], patience: float) -> tuple[str, str]:
    def late(number: int, frame: object) -> NoReturn:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, patience)
    faulthandler.dump_traceback_later(3 * patience, exit=True, file=sys.__stderr__)
    try:
        run()
        return "fine", ""
    except UserError as error:
        return "refused", repr(str(error)[:600])
    except Hang as error:
        return "hang", _where(error)
    except (Exception, SystemExit) as error:
        return "traceback", f"{type(error).__name__}: {str(error)[:200]!r} {_where(error)}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def _where(error: BaseException) -> str:
    """The last two places in the package that an error came by."""
    places = [
        f"{frame.filename.partition('ptune_scale/')[2]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/ptune_scale/" in frame.filename
    ]
    return f"at {' < '.join(reversed(places[-2:]))}"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield


@contextlib.contextmanager
def _within_memory() -> Iterator[None]:
    """What wants all memory there is gets a MemoryError, and the machine stays usable.

    The limit is on top of what the process has: libraries that others loaded are no input's doing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where an input is neither read nor refused in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="damaged files")
    parser.add_argument("--lines", type=int, default=200, help="command lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of a reader's name")
    parser.add_argument("--loud", action="store_true", help="print what came of each")
    typed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        findings = campaign(
            Path(place), typed.count, typed.seed, typed.lines, typed.only, loud=typed.loud
        )
    print("\n".join(findings.bad))
    print(findings.table())
    return int(bool(findings.bad))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
