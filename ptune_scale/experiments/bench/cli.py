"""From a command line to a directory of measurements."""

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.flags import names_in
from ptune_scale.parser import Parser, called
from ptune_scale.run.alone import run_alone

if TYPE_CHECKING:
    from ptune_scale.experiments.bench.sections import Bench

_DESCRIPTION = """Measure facts per second of P-tuning: this package, PEFT, and the published code's
way, all on the same facts in one process, in turn."""
_EXAMPLES = """  %(prog)s --output_dir out
  %(prog)s --data_dir LAMA --relations P103,P17 --sections main,ablations --output_dir out
  %(prog)s --model DIR --rounds 3 --facts_per_round 64 --output_dir out

Nearly all of the time goes into --rounds x --facts_per_round facts of each side. Ctrl-C or SIGTERM
ends it and writes what is finished.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("bench", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser("bench", _DESCRIPTION, _EXAMPLES)
    for section in BenchSections.sections().values():
        parser.add_flags(section)
    config = BenchSections.from_flags(vars(parser.parse_args(arguments)))
    if importlib.util.find_spec("peft") is None:
        raise UserError("ours is compared with PEFT, which is not installed: pip install peft")
    import torch
    import transformers

    from ptune_scale.experiments.bench.case import Case
    from ptune_scale.experiments.bench.facts import read_facts
    from ptune_scale.experiments.bench.few_shot import few_shot_tasks
    from ptune_scale.experiments.bench.sections import Bench
    from ptune_scale.experiments.bench.sides import ABLATIONS
    from ptune_scale.experiments.bench.texts import long_texts

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    asked = config.bench
    if asked.ablations != "all" and not set(names_in(asked.ablations)) <= set(ABLATIONS):
        raise UserError(f"--ablations {asked.ablations!r}: choose from {', '.join(ABLATIONS)}")
    output = Path(asked.output_dir or f"runs/bench-{time.strftime('%Y%m%d-%H%M%S')}")
    if os.path.exists(output) and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output_dir {output} is in use; choose another")
    texts, facts = long_texts(config.data), read_facts(config.data)
    case = Case.of(config, facts)
    if "few_shot" in names_in(asked.sections):
        few_shot_tasks(config)  # what is wrong with them is said before anything is measured
    torch.set_num_threads(asked.threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return _run(Bench(config, case, texts), output)


def _run(bench: "Bench", output: Path) -> int:
    """Run all sections; what is finished is written, whatever ends them."""
    from ptune_scale.experiments.bench.report import write

    results: dict[str, dict[str, Any]] = {}
    status = 0
    try:
        for name in names_in(bench.config.bench.sections):
            bench.run(name, results.setdefault(name, {}))
    except KeyboardInterrupt:
        status = 130
    finally:
        keys = ("sides", "points", "rates", "trainings", "skipped")
        finished = {n: found for n, found in results.items() if any(map(found.get, keys))}
        if finished:
            text = write(finished, bench.config.bench.threads, output)
            print(f"{text}\nresults in {output}/")
    if status:
        left = "what was finished is written" if finished else "no round was finished"
        print(f"{called('bench')}: stopped; {left}", file=sys.stderr)
    return status
