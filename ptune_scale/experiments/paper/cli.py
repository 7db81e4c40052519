"""The command line of ``launchers/paper.py``: rows of the paper's tables, run and compared."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.experiments.paper.jobs import PaperConfig, PaperJob, PaperRequest
from ptune_scale.experiments.paper.report import RowOutcome, write
from ptune_scale.experiments.paper.results import read
from ptune_scale.experiments.paper.rows import AVERAGE, PaperRow, find_row, rows
from ptune_scale.experiments.paper.run import Runner
from ptune_scale.parser import Parser, called
from ptune_scale.run.alone import run_alone

_DESCRIPTION = """Run rows of the tables of Liu et al. 2021 and compare with its numbers; each is a
job of lama.py, superglue.py or prompt_study.py."""
_EXAMPLES = """  %(prog)s --list
  %(prog)s --row table2/gpt2-medium/ptuning --data_dir LAMA --output_dir out
  %(prog)s --table 5 --fewglue_dir FewGLUE --only-runnable --output_dir out
  %(prog)s --table 2 --model smollm2-135m --data_dir LAMA -- --max_steps 20 --relations P17

What stands behind -- goes to every job. The same command again goes on: what is finished is not
run a second time, and what failed is tried again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("paper", lambda: _main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(arguments: list[str]) -> int:
    parser = Parser("paper", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "--list",
        action="store_true",
        help="say what there is, the paper's number (P@1, or the average over tasks), "
        "and what is missing to run it; with --row in full",
    )
    parser.add_argument(
        "--only-runnable",
        "--only_runnable",
        action="store_true",
        help="rows that lack weights or data are no failure",
    )
    parser.add_flags(PaperConfig)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    typed = vars(parser.parse_args(arguments[:end]))
    is_list, only_runnable = typed.pop("list", False), typed.pop("only_runnable", False)
    request = PaperRequest(PaperConfig(**typed), tuple(arguments[end + 1 :]))
    named, tables = [find_row(n).id for n in request.config.row], request.config.table
    chosen = [r for r in rows().values() if r.id in named or str(r.table) in tables]
    if is_list:
        _print_list(chosen or list(rows().values()), request, details=bool(named))
        return 0
    if not chosen:
        raise UserError("say what to run: --row ID or --table N, 1 to 6 (--list has all)")
    return _run(chosen, request, Runner(Path(request.config.output_dir)), only_runnable)


def _run(
    chosen: Sequence[PaperRow], request: PaperRequest, runner: Runner, only_runnable: bool
) -> int:
    """Run rows and write the report; 0 if every row that was to be run is measured."""
    lacking = {row.id: reason for row in chosen if (reason := request.missing(row))}
    if len(lacking) == len(chosen):
        for name, reason in lacking.items():
            print(f"{called('paper')}: {name}: {reason}", file=sys.stderr)
        raise UserError("none of these rows can be run here; --list says what each needs")
    # Jobs of all rows are made before the first one runs: a wrong flag is found out now.
    jobs = {row.id: request.jobs(row) for row in chosen if row.id not in lacking}
    runner.run(job for of_row in jobs.values() for job in of_row)
    outcomes = []
    for row in chosen:
        if row.id in lacking:
            outcomes.append(RowOutcome(row, "not run", reason=lacking[row.id]))
            continue
        outcomes.append(_outcome(row, jobs[row.id], runner))
        if outcomes[-1].status == "failed":
            print(f"{called('paper')}: {row.id} failed: {outcomes[-1].reason}", file=sys.stderr)
    print(f"{write(outcomes, request, runner.output)}\n\nresults in {runner.output}/")
    if runner.stopped_by:
        print(f"{called('paper')}: stopped; the same command goes on", file=sys.stderr)
        return 128 + runner.stopped_by
    # What nobody could run is no failure, and with --only-runnable nor is what lacks something.
    wanted = [
        o for o in outcomes if not (o.row.not_here or (only_runnable and o.row.id in lacking))
    ]
    return int(any(outcome.status != "measured" for outcome in wanted))


def _outcome(row: PaperRow, jobs: Sequence[PaperJob], runner: Runner) -> RowOutcome:
    failed = [reason for job in jobs if (reason := runner.failures.get(job))]
    if failed:
        return RowOutcome(row, "failed", reason=failed[0])
    if not all(map(runner.is_finished, jobs)):
        return RowOutcome(row, "stopped", reason="the run was stopped before")
    try:
        return RowOutcome(row, "measured", read(row, map(runner.directory, jobs)))
    except UserError as error:
        return RowOutcome(row, "failed", reason=str(error))


def _print_list(chosen: Sequence[PaperRow], request: PaperRequest, details: bool) -> None:
    width = max(len(row.id) for row in chosen)
    for row in chosen:
        name, value = ([("", 0.0), *row.paper.items()])[-1]
        number = f"{value:.1f}" if len(row.paper) == 1 or name == AVERAGE else ""
        print(f"{row.id:{width}}  {number:>5}  {request.missing(row) or 'can be run'}")
        if details:
            numbers = ", ".join(f"{name} {value:g}" for name, value in row.paper.items())
            print(f"  data: {row.data}\n  paper: {numbers or 'no number'}")
            print("".join(f"  note: {text}\n" for text in (*row.notes, *row.differs)), end="")
