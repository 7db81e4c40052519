"""From a command line to rows of the paper's tables, run and compared."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from ptune_scale.cli import Parser
from ptune_scale.command import RUNS
from ptune_scale.errors import UserError
from ptune_scale.paper import report
from ptune_scale.paper.available import missing
from ptune_scale.paper.jobs import plan, settings_of
from ptune_scale.paper.records import AVERAGE, Row, find_row, models, rows
from ptune_scale.paper.report import Outcome
from ptune_scale.paper.request import Request, absolute
from ptune_scale.paper.results import read
from ptune_scale.paper.run import Runner

_DESCRIPTION = """Run rows of the tables of Liu et al. 2021 and compare with its numbers. Rows that
share model and data run as one job of lama.py or superglue.py."""
_EXAMPLES = """examples:
  %(prog)s --list
  %(prog)s --row table2/gpt2-medium/ptuning --data_dir LAMA --output_dir out
  %(prog)s --table 5 --fewglue_dir FewGLUE --only-runnable --output_dir out
  %(prog)s --table 2 --model smollm2-135m --data_dir LAMA -- --max_steps 20 --relations P17

What stands behind -- goes to every job. The same command again goes on: what is finished is not
run a second time, and what failed is tried again.
"""


def main(arguments: Sequence[str] | None = None, launchers: Path | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        launchers: directory of lama.py and superglue.py; by default that of the running script.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    ours, extra = _split(arguments)
    try:
        typed = _build_parser().parse_args(ours)
        request = Request(
            model=absolute(typed.model),
            weights=dict(map(_weights, typed.weights)),
            data_dir=absolute(typed.data_dir),
            fewglue_dir=absolute(typed.fewglue_dir),
            superglue_dir=absolute(typed.superglue_dir),
            extra=tuple(extra),
        )
        chosen = _chosen(typed)
        if typed.list:
            _print_list(chosen, request, details=bool(typed.row))
            return 0
        launchers = launchers or Path(sys.argv[0]).resolve().parent
        with _claimed(Path(typed.output_dir)) as output:
            return _run(chosen, request, Runner(output, launchers), typed.only_runnable)
    except UserError as error:
        print(f"paper.py: error: {error}", file=sys.stderr)
        return 2


def _run(chosen: Sequence[Row], request: Request, runner: Runner, only_runnable: bool) -> int:
    """Run rows and write the report; 0 if every row that was to be run is measured."""
    reasons = {row.id: missing(row, request) for row in chosen}
    runnable = [row for row in chosen if not reasons[row.id]]
    if not runnable:
        for row in chosen:
            print(f"paper.py: {row.id}: {reasons[row.id]}", file=sys.stderr)
        raise UserError("none of these rows can be run here; --list says what each needs")
    runner.run(plan(runnable, request))
    outcomes = [
        Outcome(row, "not run", reason=reasons[row.id])
        if reasons[row.id]
        else _outcome(row, request, runner)
        for row in chosen
    ]
    try:
        text = report.write(outcomes, request, runner.output)
    except OSError as error:
        raise UserError(f"results cannot be written to {runner.output}: {error.strerror}") from None
    print(f"{text}\n\nresults in {runner.output}/")
    for outcome in outcomes:
        if outcome.status == "failed":
            print(f"paper.py: {outcome.row.id} failed: {outcome.reason}", file=sys.stderr)
    if number := runner.process.stopped_by:
        print("paper.py: stopped; the same command goes on", file=sys.stderr)
        return 128 + number
    # What nobody could run is no failure, and with --only-runnable nor is what lacks something.
    wanted = [o for o in outcomes if not (o.row.not_here or (only_runnable and reasons[o.row.id]))]
    return int(any(outcome.status != "measured" for outcome in wanted))


def _outcome(row: Row, request: Request, runner: Runner) -> Outcome:
    jobs = settings_of(row, request)
    for settings in jobs:
        if reason := runner.failures.get((settings, row.method)):
            return Outcome(row, "failed", reason=reason)
    directories = [runner.finished(settings, row.method) for settings in jobs]
    if None in directories:
        return Outcome(row, "stopped", reason="the run was stopped before")
    try:
        return Outcome(row, "measured", read(row, directories))
    except KeyError as error:
        reason = f"{row.method} gave no {error.args[0]} on this model; see {directories[0]}"
        return Outcome(row, "failed", reason=reason)


def _chosen(typed: argparse.Namespace) -> list[Row]:
    """The rows asked for, in the order of the tables; all of them for a list."""
    named = [find_row(name).id for name in typed.row]
    chosen = [row for row in rows().values() if row.id in named or row.table in typed.table]
    if not chosen and not typed.list:
        raise UserError("say what to run: --row ID or --table N (--list has all)")
    return chosen or list(rows().values())


def _print_list(chosen: Sequence[Row], request: Request, details: bool) -> None:
    width = max(len(row.id) for row in chosen)
    for row in chosen:
        reason = missing(row, request)
        name, value = next(reversed(row.paper.items()), ("", None))
        number = f"{value:.1f}" if len(row.paper) == 1 or name == AVERAGE else ""
        print(f"{row.id:{width}}  {number:>5}  {reason or 'can be run'}")
        if details:
            print(f"  data: {row.protocol.data}")
            print(
                f"  paper: {', '.join(f'{k} {v:g}' for k, v in row.paper.items()) or 'no number'}"
            )
            for text in (*row.notes, *row.protocol.differs):
                print(f"  note: {text}")


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def _weights(text: str) -> tuple[str, str]:
    name, _, directory = text.partition("=")
    if name not in models() or not directory:
        raise UserError(f"--weights {text}: write NAME=DIR; names: {', '.join(models())}")
    return name, absolute(directory)


@contextlib.contextmanager
def _claimed(output: Path) -> Iterator[Path]:
    """The output directory, for one run at a time.

    Raises:
        UserError: it is in use, or cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"--output_dir {output} is in use by another run") from None
    except OSError as error:
        raise UserError(f"--output_dir {output}: {error.strerror}") from error
    with lock:
        yield output


def _build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        "paper.py",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("which rows")
    what.add_argument(
        "--list",
        action="store_true",
        help="say what there is, the paper's number (P@1, or the average over tasks), "
        "and what is missing to run it; with --row in full",
    )
    what.add_argument("--row", action="append", default=[], metavar="ID", help="may be repeated")
    what.add_argument(
        "--table", action="append", default=[], type=int, choices=range(1, 7), metavar="N"
    )
    what.add_argument(
        "--only-runnable",
        "--only_runnable",
        action="store_true",
        help="rows that lack weights or data are no failure",
    )
    how = parser.add_argument_group("on what")
    how.add_argument("--model", default="", help="runs instead of the paper's models")
    how.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="where a model of the paper lies; may be repeated",
    )
    how.add_argument("--data_dir", default="", help="LAMA facts, or 'embedded' for built-in ones")
    how.add_argument("--fewglue_dir", default="", help="FewGLUE, 32 training records a task")
    how.add_argument("--superglue_dir", default="", help="SuperGLUE, whole")
    parser.add_argument("--output_dir", default=f"{RUNS}/paper", help="(default: %(default)s)")
    return parser
